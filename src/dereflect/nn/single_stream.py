"""The mutually gated block for one stream, which gates itself.

Hu and Guo, "Single Image Reflection Separation via Component Synergy" (ICCV 2023): the last stage of their
learnable residue module.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dereflect.nn.mugi import ChannelNorm, SimpleChannelAttention


class SelfGate(nn.Module):
    """The first half of the channels times the second: 2C channels in, C out."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, 2C, H, W) to (B, C, H, W)."""
        value, gate = x.chunk(2, dim=1)
        return value * gate


class SingleStreamBlock(nn.Module):
    """Two residual stages of norm, widening, gate and projection; a fresh block is the identity.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.block1 = nn.Sequential(
            ChannelNorm(channels),
            nn.Conv2d(channels, wide, 1),
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide),
            SelfGate(),
            SimpleChannelAttention(channels),
            nn.Conv2d(channels, channels, 1),
        )
        self.block2 = nn.Sequential(
            ChannelNorm(channels), nn.Conv2d(channels, wide, 1), SelfGate(), nn.Conv2d(channels, channels, 1)
        )
        self.a = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.b = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        x = x + self.a * self.block1(x)
        return x + self.b * self.block2(x)

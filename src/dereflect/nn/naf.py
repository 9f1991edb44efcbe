"""Block of NAFNet (Chen, Chu, Zhang and Sun, "Simple Baselines for Image Restoration", ECCV 2022).

No activation: two halves of the channels are multiplied with each other instead. Module names follow the
published checkpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dereflect.nn.mugi import ChannelNorm

EPS = 1e-6


class NafBlock(nn.Module):
    """Two residual branches: depthwise convolution with channel attention, then a gated pixelwise one.

    Args:
        channels: C of input and output.
        expansion: channels inside are expansion * C before a gate and half of that after it.
        scaling: what beta and gamma, the scalings of the two branches, start at.
    """

    def __init__(self, channels: int, expansion: int, scaling: float = 0.0) -> None:
        super().__init__()
        wide = expansion * channels
        self.beta = nn.Parameter(torch.full((1, channels, 1, 1), scaling))
        self.gamma = nn.Parameter(torch.full((1, channels, 1, 1), scaling))
        self.conv1 = nn.Conv2d(channels, wide, 1)
        self.conv2 = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)
        self.conv3 = nn.Conv2d(wide // 2, channels, 1)
        self.sca = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(wide // 2, wide // 2, 1))
        self.conv4 = nn.Conv2d(channels, wide, 1)
        self.conv5 = nn.Conv2d(wide // 2, channels, 1)
        self.norm1 = ChannelNorm(channels, EPS)
        self.norm2 = ChannelNorm(channels, EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape. The attention averages over the whole picture."""
        mixed = gate(self.conv2(self.conv1(self.norm1(x))))
        x = x + self.beta * self.conv3(mixed * self.sca(mixed))
        return x + self.gamma * self.conv5(gate(self.conv4(self.norm2(x))))


def gate(x: Tensor) -> Tensor:
    """(B, 2C, H, W) to (B, C, H, W): the first half of the channels times the second."""
    first, second = x.chunk(2, dim=1)
    return first * second

"""Mutually gated interaction (MuGI) block: two streams of one width that gate each other.

Introduced by Hu and Guo, "Single Image Reflection Separation via Component Synergy" (ICCV 2023), and
used as published by DMDNet (arXiv 2601.00322). The module names follow the published checkpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ChannelNorm(nn.Module):
    """Layer norm of each pixel over its channels (biased variance), for (B, C, H, W) tensors.

    Args:
        channels: C.
        eps: added to the variance; 1e-6 in MuGI blocks, 1e-5 elsewhere.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape; the result lies channels-last in memory."""
        pixels = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps)
        return pixels.permute(0, 3, 1, 2)


class SimpleChannelAttention(nn.Module):
    """Scale each channel by a linear mix of the channel means: ``x * conv1x1(mean(x))``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.ca = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        # The mean is spelt out: pooling modules are several times slower than a plain reduction on the CPU.
        return x * self.ca[1](x.mean(dim=(2, 3), keepdim=True))


class CrossedGate(nn.Module):
    """Gate the first half of each stream by the second half of the other: 2C channels in, C out."""

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Two (B, 2C, H, W) tensors to two (B, C, H, W) tensors."""
        x_value, x_gate = x.chunk(2, dim=1)
        y_value, y_gate = y.chunk(2, dim=1)
        return x_value * y_gate, y_value * x_gate


class Twice(nn.Module):
    """Apply one chain of layers to both streams (shared weights)."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.seq = nn.Sequential(*layers)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Each stream through the same chain."""
        return self.seq(x), self.seq(y)


def crossed_layers(channels: int) -> nn.ModuleList:
    """Norm, widening, depthwise mixing, crossed gate, channel attention and projection on two streams."""
    return nn.ModuleList(
        [
            Twice(
                ChannelNorm(channels),
                nn.Conv2d(channels, 2 * channels, 1),
                nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels),
            ),
            CrossedGate(),
            Twice(SimpleChannelAttention(channels)),
            Twice(nn.Conv2d(channels, channels, 1)),
        ]
    )


class MuGIBlock(nn.Module):
    """Two residual stages of norm, widening, crossed gate and projection on a pair of streams.

    All weights are shared by the streams, except the residual scalings, which start at zero so that a fresh
    block is the identity.

    Args:
        channels: C of both streams.
        shared_b: whether the scaling of the second stage is common to both streams (it is in all networks).
    """

    def __init__(self, channels: int, shared_b: bool = True) -> None:
        super().__init__()
        self.block1 = crossed_layers(channels)
        self.block2 = nn.ModuleList(
            [
                Twice(ChannelNorm(channels), nn.Conv2d(channels, 2 * channels, 1)),
                CrossedGate(),
                Twice(nn.Conv2d(channels, channels, 1)),
            ]
        )
        scaling = (1, channels, 1, 1)
        self.a_l = nn.Parameter(torch.zeros(scaling))
        self.a_r = nn.Parameter(torch.zeros(scaling))
        self.shared_b = shared_b
        if shared_b:
            self.b = nn.Parameter(torch.zeros(scaling))
        else:
            self.b_l = nn.Parameter(torch.zeros(scaling))
            self.b_r = nn.Parameter(torch.zeros(scaling))

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Two (B, C, H, W) tensors to two of the same shape."""
        dx, dy = x, y
        for layer in self.block1:
            dx, dy = layer(dx, dy)
        x, y = torch.addcmul(x, self.a_l, dx), torch.addcmul(y, self.a_r, dy)

        dx, dy = x, y
        for layer in self.block2:
            dx, dy = layer(dx, dy)
        b_l, b_r = (self.b, self.b) if self.shared_b else (self.b_l, self.b_r)
        return torch.addcmul(x, b_l, dx), torch.addcmul(y, b_r, dy)

"""Blocks of the YTMT networks (paper section 3.2).

Attention, dual convolutions, and steps down and up the U.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dereflect.nn.enlarging import double
from dereflect.nn.exchange import ExchangeHead
from dereflect.nn.streams import TwoStreams


class PixelAttention(nn.Module):
    """Scale every pixel by one learnt gate in (0, 1), the same for all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pa = nn.Sequential(
            nn.Conv2d(channels, channels // 8, 1),
            nn.ReLU(),
            nn.Conv2d(channels // 8, 1, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape; the gate is (B, 1, H, W)."""
        return x * self.pa(x)


class ChannelAttention(nn.Module):
    """Scale every channel by one learnt gate in (0, 1).

    The gate is found from the channels' averages over the picture.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.ca = nn.Sequential(
            nn.Conv2d(channels, channels // 8, 1),
            nn.ReLU(),
            nn.Conv2d(channels // 8, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape; the gate is (B, C, 1, 1)."""
        return x * self.ca(x.mean(dim=(2, 3), keepdim=True))


class StreamConv(nn.Module):
    """3x3 convolution of one stream, with attention on its input unless it is the network's first."""

    def __init__(self, in_channels: int, out_channels: int, attention: bool) -> None:
        super().__init__()
        conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        gates = [PixelAttention(in_channels), ChannelAttention(in_channels)] if attention else []
        self.model = nn.Sequential(*gates, conv)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, H, W), not yet rectified."""
        return self.model(x)


class DualBlock(nn.Module):
    """A convolution in each stream, then their exchange: one "YTMT block"."""

    def __init__(self, in_channels: int, out_channels: int, exchange: str, attention: bool = True) -> None:
        super().__init__()
        self.conv_l = StreamConv(in_channels, out_channels, attention)
        self.conv_r = StreamConv(in_channels, out_channels, attention)
        self.ytmt_head = ExchangeHead(exchange, out_channels)

    def forward(self, left: Tensor, right: Tensor) -> TwoStreams:
        """Two (B, in, H, W) to two (B, out, H, W)."""
        return self.ytmt_head(self.conv_l(left), self.conv_r(right))


class Down(nn.Module):
    """Halve the resolution by max-pooling (an odd last row or column is dropped), then a dual block."""

    def __init__(self, in_channels: int, out_channels: int, exchange: str) -> None:
        super().__init__()
        self.model = DualBlock(in_channels, out_channels, exchange)

    def forward(self, left: Tensor, right: Tensor) -> TwoStreams:
        """Two (B, in, H, W) to two (B, out, H // 2, W // 2)."""
        return self.model(F.max_pool2d(left, 2), F.max_pool2d(right, 2))


class Up(nn.Module):
    """Double the resolution, join with the encoder's features, then a dual block.

    `in_channels` counts both.
    """

    def __init__(self, in_channels: int, out_channels: int, exchange: str) -> None:
        super().__init__()
        self.model = DualBlock(in_channels, out_channels, exchange)

    def forward(self, low: TwoStreams, skip: TwoStreams) -> TwoStreams:
        """Low (B, C, h, w) and skip (B, S, H, W) pairs, H - 2h in {0, 1}, to two (B, out, H, W)."""
        left, right = (
            torch.cat([skipped, upsample_to(deep, skipped)], dim=1)
            for deep, skipped in zip(low, skip, strict=True)
        )
        return self.model(left, right)


class OutputConvs(nn.Module):
    """Last convolution of each stream, and the sigmoid that brings it to [0, 1]."""

    def __init__(self, in_channels: int, out_channels: int, bias: bool, squash: bool) -> None:
        super().__init__()
        end = [nn.Sigmoid()] if squash else []
        self.conv_l = nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias), *end)
        self.conv_r = nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias), *end)

    def forward(self, left: Tensor, right: Tensor) -> TwoStreams:
        """Two (B, in, H, W) to two images (B, out, H, W)."""
        return self.conv_l(left), self.conv_r(right)


def upsample_to(low: Tensor, reference: Tensor) -> Tensor:
    """Double the resolution, then pad with zeros to the height and width of `reference`.

    Bilinear, corners aligned.

    The doubling is by two whatever the reference's size, so that an odd last row or column is zero at right
    and bottom.
    """
    doubled = double(low, align_corners=True)
    extra_h, extra_w = reference.shape[-2] - doubled.shape[-2], reference.shape[-1] - doubled.shape[-1]
    return F.pad(doubled, (extra_w // 2, extra_w - extra_w // 2, extra_h // 2, extra_h - extra_h // 2))

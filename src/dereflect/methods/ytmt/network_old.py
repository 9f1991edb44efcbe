"""The older U-shaped network, a different function from `UNetwork`: the published checkpoint needs it.

Every block returns the positive and the negative part of its result, and the receiver does the exchange: it
gets its own stream's positive part and the other stream's negative part, in this order. Attention acts
before the rectifier here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dereflect.methods.ytmt.blocks import ChannelAttention, PixelAttention, upsample_to
from dereflect.methods.ytmt.config import YtmtConfig
from dereflect.nn.exchange import split
from dereflect.nn.streams import TwoStreams

Parts = tuple[Tensor, Tensor]
"""(positive, negative) parts of one stream, as a block returns them."""


class FirstBlock(nn.Module):
    """Input to the first pair of parts.

    The published file has an unused ``fusion`` here, which is not kept.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            PixelAttention(out_channels),
            ChannelAttention(out_channels),
        )

    def forward(self, x: Tensor) -> Parts:
        """(B, in, H, W) to two (B, out, H, W)."""
        return split(self.model(x))


class OldDown(nn.Module):
    """Mix own and other, halve, convolve, attend, split."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.fusion = nn.Conv2d(2 * in_channels, in_channels, 1)
        self.model = nn.Sequential(
            nn.MaxPool2d(2),
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            PixelAttention(out_channels),
            ChannelAttention(out_channels),
        )

    def forward(self, own: Tensor, other: Tensor) -> Parts:
        """Two (B, in, H, W) to two (B, out, H // 2, W // 2)."""
        return split(self.model(self.fusion(torch.cat([own, other], dim=1))))


class OldUp(nn.Module):
    """Mix the deep pair and the skip pair, join them at the skip's resolution, convolve, attend, split."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.fusion_1 = nn.Conv2d(channels, channels, 1)
        self.fusion_2 = nn.Conv2d(channels, channels, 1)
        self.model = nn.Sequential(
            nn.Conv2d(2 * channels, out_channels, 3, padding=1),
            PixelAttention(out_channels),
            ChannelAttention(out_channels),
        )

    def forward(self, low: TwoStreams, skip: TwoStreams) -> Parts:
        """(own, other) of (B, channels / 2, h, w) and of (B, channels / 2, H, W) to two (B, out, H, W)."""
        deep = self.fusion_1(torch.cat(low, dim=1))
        skipped = self.fusion_2(torch.cat(skip, dim=1))
        return split(self.model(torch.cat([skipped, upsample_to(deep, skipped)], dim=1)))


class OldOut(nn.Module):
    """Mix own and other into an image."""

    def __init__(self, channels: int, out_channels: int, squash: bool) -> None:
        super().__init__()
        self.fusion = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.conv = nn.Conv2d(2 * channels, out_channels, 3, padding=1)
        self.squash = squash

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """Two (B, channels, H, W) to (B, out, H, W)."""
        x = self.conv(self.fusion(torch.cat([own, other], dim=1)))
        return torch.sigmoid(x) if self.squash else x


class OldUNetwork(nn.Module):
    """The U-shaped network of the published checkpoint.

    Stream 1 is the transmission's, stream 2 the reflection's.
    """

    def __init__(self, config: YtmtConfig) -> None:
        super().__init__()
        w = config.width
        for s in (1, 2):
            self.add_module(f"inc_{s}", FirstBlock(config.in_channels, w))
            for k, (wide, deep) in enumerate([(1, 2), (2, 4), (4, 8), (8, 8)], start=1):
                self.add_module(f"down{k}_{s}", OldDown(wide * w, deep * w))
            for k, (both, out) in enumerate([(16, 4), (8, 2), (4, 1), (2, 1)], start=1):
                self.add_module(f"up{k}_{s}", OldUp(both * w, out * w))
            self.add_module(f"outc_{s}", OldOut(w, config.image_channels, config.squash))

    def forward(self, left: Tensor, right: Tensor | None = None) -> TwoStreams:
        """As `UNetwork.forward`."""
        inc_1, inc_2 = self.get_submodule("inc_1"), self.get_submodule("inc_2")
        return self.decode((inc_1(left), inc_2(left if right is None else right)))

    def decode(self, features: tuple[Parts, Parts]) -> TwoStreams:
        """Everything after the first block, whose parts are given for each stream."""
        levels = [cross(*features)]
        for k in range(1, 5):
            levels.append(cross(*self._both(f"down{k}", *levels[-1])))
        x = levels[4]
        for k in range(1, 5):
            skip = levels[4 - k]
            x = cross(*(self.get_submodule(f"up{k}_{s + 1}")(x[s], skip[s]) for s in (0, 1)))
        left, right = (self.get_submodule(f"outc_{s + 1}")(*x[s]) for s in (0, 1))
        return left, right

    def _both(self, name: str, one: TwoStreams, two: TwoStreams) -> tuple[Parts, Parts]:
        return self.get_submodule(f"{name}_1")(*one), self.get_submodule(f"{name}_2")(*two)


def cross(one: Parts, two: Parts) -> tuple[TwoStreams, TwoStreams]:
    """What each stream's next block receives: its own positive part and the other's negative part."""
    return (one[0], two[1]), (two[0], one[1])

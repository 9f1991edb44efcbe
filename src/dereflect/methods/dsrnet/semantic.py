"""The semantic pyramid: five VGG-19 levels and the picture become the first features of both streams."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dereflect.nn.enlarging import Double
from dereflect.nn.mugi import MuGIBlock, Twice
from dereflect.nn.streams import TwoStreams, TwoStreamSequence


def doubled() -> Twice:
    """Twice the size, bilinear; corner pixels keep their places."""
    return Twice(Double(align_corners=True))


class SemanticPyramid(nn.Module):
    """From the coarsest VGG-19 level to full resolution, one level joining after the other.

    Args:
        width: channels of both results.
        shared_b: of the mutually gated blocks.
    """

    def __init__(self, width: int, shared_b: bool) -> None:
        super().__init__()

        def gated(channels: int) -> MuGIBlock:
            return MuGIBlock(channels, shared_b)

        def pointwise(channels: int, out: int) -> Twice:
            return Twice(nn.Conv2d(channels, out, 1))

        def enlarging(channels: int) -> TwoStreamSequence:
            wide = nn.Conv2d(channels, channels, 1)
            return TwoStreamSequence(Twice(wide, nn.PixelShuffle(2)), gated(channels // 4))

        self.block5 = TwoStreamSequence(gated(512), doubled())
        self.block4 = TwoStreamSequence(gated(512))
        self.ch_map4 = enlarging(1024)
        self.block3 = TwoStreamSequence(gated(256))
        self.ch_map3 = enlarging(512)
        self.block2 = TwoStreamSequence(gated(128))
        self.ch_map2 = enlarging(256)
        self.block1 = TwoStreamSequence(gated(64))
        self.ch_map1 = TwoStreamSequence(pointwise(128, 128), gated(128), pointwise(128, 32), gated(32))
        self.block_intro = TwoStreamSequence(Twice(nn.Conv2d(3, 32, 3, padding=1)), gated(32))
        self.ch_map0 = pointwise(64, width)

    def forward(self, image: Tensor, levels: Sequence[Tensor]) -> TwoStreams:
        """Features of both streams.

        Args:
            image: (B, 3, H, W) in [0, 1], H and W multiples of 16.
            levels: the five VGG-19 levels of the picture, relu1_1 to relu5_1.

        Returns:
            Two (B, width, H, W) tensors.
        """
        one, two, three, four, five = levels
        below = self.block5(five, five)  # 512 channels at 1/8
        below = self.ch_map4(*joined(below, self.block4(four, four)))  # 256 at 1/4
        below = self.ch_map3(*joined(below, self.block3(three, three)))  # 128 at 1/2
        below = self.ch_map2(*joined(below, self.block2(two, two)))  # 64 at 1
        below = self.ch_map1(*joined(below, self.block1(one, one)))  # 32 at 1
        return self.ch_map0(*joined(below, self.block_intro(image, image)))


def joined(first: TwoStreams, second: TwoStreams) -> TwoStreams:
    """Channels of two pairs of streams side by side."""
    return torch.cat([first[0], second[0]], dim=1), torch.cat([first[1], second[1]], dim=1)

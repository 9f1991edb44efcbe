"""Encoding branch: both streams start from one stem and drift apart through mutually gated blocks."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dereflect.nn.mugi import MuGIBlock, Twice
from dereflect.nn.streams import TwoStreams


class EncodingBranch(nn.Module):
    """Five levels of feature pairs; each level is taken before the MuGI blocks that work at its size.

    Args:
        dims: channels of the five levels.
    """

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__()
        self.stem = Twice(nn.Conv2d(3, dims[0], 3, padding=1))
        for level in range(1, 5):
            narrow, wide = dims[level - 1], dims[level]
            blocks = [
                MuGIBlock(narrow),
                MuGIBlock(narrow),
                Twice(nn.AvgPool2d(2)),
                Twice(nn.Conv2d(narrow, wide, 1)),
            ]
            self.add_module(f"block{level}", nn.ModuleList(blocks))

    def forward(self, image: Tensor) -> list[TwoStreams]:
        """(B, 3, H, W) to five pairs of (B, C_l, H / 2^(l-1), W / 2^(l-1))."""
        x = y = self.stem.seq(image)
        levels = [(x, y)]
        for level in range(1, 5):
            for layer in self.get_submodule(f"block{level}").children():
                x, y = layer(x, y)
            levels.append((x, y))
        return levels

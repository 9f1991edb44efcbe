"""The learnable residue module: what of the photo neither layer explains."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dereflect.nn.mugi import MuGIBlock, Twice
from dereflect.nn.single_stream import SingleStreamBlock
from dereflect.nn.streams import TwoStreams


class NamedTwice(nn.Module):
    """`Twice` as the published checkpoints name it: one chain of layers, known as left and as right."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.seq_l = nn.Sequential(*layers)
        self.seq_r = self.seq_l

    @property
    def seq(self) -> nn.Sequential:
        """The chain."""
        return self.seq_l

    def forward(self, x: Tensor, y: Tensor) -> TwoStreams:
        """Each stream through the same chain."""
        return self.seq_l(x), self.seq_r(y)


def named_block(channels: int) -> MuGIBlock:
    """A mutually gated block whose shared layers have both names."""
    block = MuGIBlock(channels, shared_b=False)
    for stage in (block.block1, block.block2):
        for index, layer in enumerate(stage):
            if isinstance(layer, Twice):
                stage[index] = NamedTwice(*layer.seq)
    return block


class ResidualModule(nn.Module):
    """Both streams, first gating each other, then as one, to a residual picture.

    Args:
        width: channels of both streams.
        blocks: two-stream and one-stream blocks.
    """

    def __init__(self, width: int, blocks: tuple[int, int]) -> None:
        super().__init__()
        self.intro = NamedTwice(nn.Conv2d(width, 2 * width, 1))
        self.blocks_inter = nn.ModuleList(named_block(2 * width) for _ in range(blocks[0]))
        self.blocks_merge = nn.ModuleList(SingleStreamBlock(4 * width) for _ in range(blocks[1]))
        self.tail = nn.Sequential(nn.Conv2d(4 * width, 3, 3, padding=1), nn.Tanh())

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Two (B, width, H, W) tensors to (B, 3, H, W) in [-1, 1]."""
        left, right = self.intro(left, right)
        for block in self.blocks_inter:
            left, right = block(left, right)
        merged = torch.cat([left, right], dim=1)
        for block in self.blocks_merge:
            merged = block(merged)
        return self.tail(merged)

"""The decoder that all columns share: two paths from four states to what is taken off the photo.

The paths differ in their weights and in one thing more: the first has a GELU. Module names follow the
published checkpoint, ``projback_shit`` and ``projback_shit_2`` included.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from dereflect.nn.enlarging import double
from dereflect.nn.mugi import ChannelNorm
from dereflect.nn.naf import NafBlock

EPS = 1e-6
PATHS = 2
INITIAL_SCALING = 1e-6


class Decoder(nn.Module):
    """States c0..c3 to (B, 6, 2h, 2w): three channels of each path.

    Args:
        channels: of c0..c3, finest first.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        steps = [(wide, narrow) for narrow, wide in pairwise(channels)][::-1]
        self.normal_layers, self.proj_layers = nn.ModuleList(), nn.ModuleList()
        for path in range(PATHS):
            for wide, narrow in steps:
                self.normal_layers.append(nn.Sequential(NafBlock(narrow, 1, INITIAL_SCALING)))
                projection = [nn.Conv2d(wide, narrow, 1), ChannelNorm(narrow, EPS)]
                self.proj_layers.append(nn.Sequential(*projection, *([nn.GELU()] if path == 0 else [])))
        self.projback_shit = nn.Sequential(nn.Conv2d(channels[0], 12, 1), nn.PixelShuffle(2))
        self.projback_shit_2 = nn.Sequential(nn.Conv2d(channels[0], 12, 1), nn.PixelShuffle(2))
        self.steps = len(steps)

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """Channels 0..2 come from the path with GELU."""
        ends = (self.projback_shit, self.projback_shit_2)
        return torch.cat([end(self.path(path, states)) for path, end in enumerate(ends)], dim=1)

    def path(self, path: int, states: Sequence[Tensor]) -> Tensor:
        """From the coarsest state to c0's size: each step is multiplied by the state of that size."""
        *finer, z = states
        for step, skip in enumerate(reversed(finer)):
            z = self.stage(path * self.steps + step, z) * skip
        return z

    def stage(self, number: int, z: Tensor) -> Tensor:
        """(B, wide, h, w) to (B, narrow, 2h, 2w): projection, doubling (corners on corners), NAF block."""
        z = self.proj_layers[number](z)
        z = double(z, align_corners=True)
        return self.normal_layers[number](z)

"""One column: four states, each renewed from the new state below it and the old state above it.

Paper section 3.2. A new state is alpha * old + L(...), with L made of the two neighbours alone, so that the
old states can be computed back from the new ones. Module names follow the published checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dereflect.nn.enlarging import double
from dereflect.nn.mugi import ChannelNorm
from dereflect.nn.naf import NafBlock

EPS = 1e-6
EXPANSION = 4
"""Of the NAF blocks in a column; in the decoder it is 1."""
SMALLEST_ALPHA = 1e-3
INITIAL_ALPHA, INITIAL_SCALING = 0.5, 1e-6

States = tuple[Tensor, Tensor, Tensor, Tensor]


class Column(nn.Module):
    """(c0, c1, c2, c3) to new states of the same shapes, (B, C_j, h / 2^j, w / 2^j).

    Args:
        channels: C_j of the four levels.
        blocks: NAF blocks of the four levels.
        first: the first column has no way from the level above.
    """

    def __init__(self, channels: Sequence[int], blocks: Sequence[int], first: bool) -> None:
        super().__init__()
        for level, width in enumerate(channels):
            start = torch.full((1, width, 1, 1), INITIAL_ALPHA)
            self.register_parameter(f"alpha{level}", nn.Parameter(start))
        for level, depth in enumerate(blocks):
            self.add_module(f"level{level}", Level(level, channels, depth, first))

    def alphas(self) -> list[nn.Parameter]:
        """The scalings of the four old states, (1, C_j, 1, 1)."""
        return [self.get_parameter(f"alpha{level}") for level in range(4)]

    def levels(self) -> list[Level]:
        """L_0 to L_3."""
        found = (self.get_submodule(f"level{level}") for level in range(4))
        return [level for level in found if isinstance(level, Level)]

    def forward(self, x: Tensor, states: Sequence[Tensor]) -> States:
        """Renew the states; x (B, C_0, h, w) is the prompted stem.

        Alphas that are too small to be divided by are moved away from zero first, in place.
        """
        self.clamp_alphas()
        return self.renew(x, states)

    def renew(self, x: Tensor, states: Sequence[Tensor]) -> States:
        """The new states, from alphas as they are."""
        alpha, level, (c0, c1, c2, c3) = self.alphas(), self.levels(), states
        c0 = alpha[0] * c0 + level[0](x, c1)
        c1 = alpha[1] * c1 + level[1](c0, c2)
        c2 = alpha[2] * c2 + level[2](c1, c3)
        c3 = alpha[3] * c3 + level[3](c2, None)
        return c0, c1, c2, c3

    @torch.no_grad()
    def clamp_alphas(self) -> None:
        """alpha <- sign(alpha) * max(|alpha|, 1e-3); an exact 0 stays 0."""
        for alpha in self.alphas():
            alpha.copy_(away_from_zero(alpha))


def away_from_zero(alpha: Tensor) -> Tensor:
    """Move entries to a magnitude of at least `SMALLEST_ALPHA`; an exact 0 stays 0."""
    return alpha.sign() * alpha.abs().clamp_min(SMALLEST_ALPHA)


class Level(nn.Module):
    """L_j: fusion of the neighbours, then NAF blocks."""

    def __init__(self, level: int, channels: Sequence[int], depth: int, first: bool) -> None:
        super().__init__()
        below = channels[level - 1] if level else None
        above = None if first or level == len(channels) - 1 else channels[level + 1]
        width = channels[level]
        self.fusion = Fusion(below, width, above)
        self.blocks = nn.Sequential(*(NafBlock(width, EXPANSION, INITIAL_SCALING) for _ in range(depth)))

    def forward(self, down: Tensor, up: Tensor | None) -> Tensor:
        """From the state below, (B, C_{j-1}, 2h, 2w), and the state above, (B, C_{j+1}, h / 2, w / 2)."""
        return self.blocks(self.fusion(down, up))


class Fusion(nn.Module):
    """Sum of the state below, halved in size, and the state above, doubled; where there is a way for it."""

    def __init__(self, below: int | None, width: int, above: int | None) -> None:
        super().__init__()
        self.from_below, self.from_above = below is not None, above is not None
        if below is not None:
            self.down = nn.Sequential(nn.Conv2d(below, width, 2, 2), ChannelNorm(width, EPS))
        if above is not None:
            self.up = UpConvolution(above, width)

    def forward(self, down: Tensor, up: Tensor | None) -> Tensor:
        """See `Level.forward`. At level 0 `down` has the right shape and is taken as it is."""
        result = self.down(down) if self.from_below else down
        return result + self.up(up) if self.from_above else result


class UpConvolution(nn.Module):
    """Linear layer and norm over the channels, then twice the size (bilinear, pixel areas aligned)."""

    def __init__(self, above: int, width: int) -> None:
        super().__init__()
        self.channel_reschedule = nn.Sequential(nn.Linear(above, width), nn.LayerNorm(width, EPS))

    def forward(self, x: Tensor) -> Tensor:
        """(B, above, h, w) to (B, width, 2h, 2w)."""
        x = self.channel_reschedule(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return double(x)

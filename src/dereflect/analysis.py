"""A picture on its way through a separation: read and planned, then seen by the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from dereflect import tiling
from dereflect.canvas import Source
from dereflect.errors import InputError
from dereflect.images import Picture, read_any
from dereflect.images.picture import Array, convert_depth
from dereflect.methods.contract import Progress


@dataclass(frozen=True)
class Job:
    """One picture, read and planned.

    Attributes:
        layout: whether the network sees it whole, fitted or in tiles.
        small: (3, h, w), what the network sees; None for tiles.
        name: to call outputs by.
    """

    picture: Picture
    source: Source
    layout: tiling.Plan
    small: Tensor | None
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what the network sees; () for tiles."""
        return () if self.small is None else tuple(self.small.shape)

    def stripes(
        self,
        layers: tiling.Layers | None,
        run_tile: Callable[[Tensor], tiling.Layers],
        progress: Progress | None,
    ) -> Iterator[tiling.Stripe]:
        """Both layers at full size, from top to bottom.

        Args:
            layers: (1, 3, h, w) each, what the network made of `small`; None for tiles.
            run_tile: the network, for tiles.
            progress: told of the tiles.
        """
        height, width = self.picture.height, self.picture.width
        if self.small is None or layers is None:
            return tiling.stripes_of_tiles(self.source.rows, height, width, self.layout, run_tile, progress)
        pair = (layers[0][0], layers[1][0])
        if self.layout.kind == "whole":
            return tiling.stripes_of_whole(pair)
        return tiling.stripes_of_fitted(self.small, pair, self.source.rows, height, width)


@dataclass(frozen=True)
class Analysis:
    """A picture after the network and before strength and mask; `Separator.develop` finishes it.

    Attributes:
        seconds: what it took so far.
    """

    _job: Job
    _layers: tiling.Layers | None  # at the network's size; None for tiles
    _seed: int | None
    seconds: float

    @property
    def picture(self) -> Picture:
        """The input."""
        return self._job.picture

    @property
    def memory(self) -> int:
        """Bytes that it holds, about."""
        picture = self._job.picture
        tensors = [*(self._layers or ()), *(() if self._job.small is None else (self._job.small,))]
        alpha = 0 if picture.alpha is None else picture.alpha.nbytes
        return picture.pixels.nbytes + alpha + sum(tensor.nbytes for tensor in tensors)


def read_mask(mask: Any, picture: Picture, max_pixels: int) -> Array | None:
    """A mask in any form as (height, width) in [0, 1]; None stays None.

    Raises:
        InputError: it cannot be read, or is not of the picture's size.
    """
    if mask is None:
        return None
    drawn = read_any(mask, max_pixels)
    if (drawn.height, drawn.width) != (picture.height, picture.width):
        raise InputError(
            f"the mask is {drawn.width} x {drawn.height} and the picture "
            f"{picture.width} x {picture.height}; they must be the same"
        )
    values = convert_depth(drawn.pixels, np.dtype(np.float32))
    return values if drawn.grey else values.mean(axis=2)

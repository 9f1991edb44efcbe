"""From a picture in any form to what the network sees of it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from dereflect.images import Picture, read_any
from dereflect.images.colour import Space, colour_space
from dereflect.images.picture import Array
from dereflect.images.resizing import reduced
from dereflect.images.tensors import to_tensor
from dereflect.inference.plan import Plan, Quality, SeparatorSettings, make_plan
from dereflect.methods.contract import Traits


class Layers(NamedTuple):
    """Both layers as the network gives them: float32 sRGB in [0, 1], of one shape."""

    transmission: Tensor
    reflection: Tensor


@dataclass(frozen=True, eq=False)
class Prepared:
    """A picture, read and planned; after `run.run` with what the network made of it.

    Attributes:
        picture: the input, upright.
        plan: whether the network sees it whole, fitted or in tiles.
        space: its colour space; None where that is sRGB.
        seen: (3, h, w) float32 sRGB in [0, 1], what the network sees; None for tiles, which are cut later.
        name: to call outputs by.
        quality, seed: how the network is to run.
        layers: of `seen`, (3, h, w) each; None before the network has run, and for tiles.
        seconds: what preparing and the network took.
    """

    picture: Picture
    plan: Plan
    space: Space | None
    seen: Tensor | None
    name: str = "picture"
    quality: Quality = "fast"
    seed: int = 0
    layers: Layers | None = None
    seconds: float = 0.0

    @property
    def memory(self) -> int:
        """Bytes that it holds, about."""
        tensors = [*(self.layers or ()), *(() if self.seen is None else (self.seen,))]
        alpha = 0 if self.picture.alpha is None else self.picture.alpha.nbytes
        return self.picture.pixels.nbytes + alpha + sum(tensor.nbytes for tensor in tensors)

    def rows(self, start: int, stop: int) -> Tensor:
        """Some rows of the full picture as the network sees them, (3, stop - start, W)."""
        return _as_seen(self.picture.pixels[start:stop], self.space)


def prepare(image: Any, settings: SeparatorSettings, traits: Traits, budget: int) -> Prepared:
    """Read a picture, decide how it will be run, and bring it to what the network sees of it.

    Args:
        image: in any form that `dereflect.images.read_any` takes.
        settings: how to run it, checked.
        traits: of the method.
        budget: bytes that the network may take at work, see `plan.memory_budget`.

    Raises:
        InputError, MissingExtra: the picture cannot be read, or is larger than ``settings.max_pixels``.
    """
    picture = read_any(image, settings.max_pixels, settings.raw_space)
    started = time.perf_counter()
    plan = make_plan(picture.height, picture.width, traits, budget, settings.tile, settings.max_size)
    space = colour_space(picture.metadata.icc, picture.grey)
    seen = None
    if plan.kind == "whole":
        seen = _as_seen(picture.pixels, space)
    elif plan.kind == "fitted":
        seen = _as_seen(reduced(picture, plan.height, plan.width), space)
    return Prepared(
        picture,
        plan,
        space,
        seen,
        Path(os.fspath(image)).stem if isinstance(image, (str, os.PathLike)) else "picture",
        settings.quality,
        settings.seed,
        seconds=time.perf_counter() - started,
    )


def _as_seen(pixels: Array, space: Space | None) -> Tensor:
    """Pixels of any depth, (H, W) or (H, W, 3), as (3, H, W) float32 sRGB in [0, 1]; grey three times."""
    if space is not None:
        pixels = space.to_srgb(pixels)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return to_tensor(pixels)

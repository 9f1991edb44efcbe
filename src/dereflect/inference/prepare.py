"""From a picture in any form to what the network sees of it; and the mask that goes with it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from dereflect.errors import InputError
from dereflect.images import Picture, read_any
from dereflect.images.colour import ColourSpace, colour_space
from dereflect.images.picture import UNNAMED, Array, convert_depth
from dereflect.images.tensors import to_tensor
from dereflect.inference.plan import Plan, Quality

SAME_SHAPE = 0.01
"""How far the proportions of a mask may differ from the picture's (reduced copies are rounded to pixels)."""


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
        space: its colour space; None where that is sRGB, or grey.
        seen: (3, h, w) float32 sRGB in [0, 1], what the network sees; None for tiles, which are cut later.
        name: to call outputs by.
        quality, seed: how the network is to run.
        layers: of `seen`, (3, h, w) each; None before the network has run, and for tiles.
        seconds: what preparing and the network took.
    """

    picture: Picture
    plan: Plan
    space: ColourSpace | None
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


def prepare(
    picture: Picture, plan: Plan, name: str = "picture", quality: Quality = "fast", seed: int = 0
) -> Prepared:
    """Bring a picture to what the network sees of it.

    Args:
        picture: the input.
        plan: how it will be run.
        name: to call outputs by.
        quality, seed: how the network is to run.
    """
    started = time.perf_counter()
    space = None if picture.grey else colour_space(picture.metadata.icc)
    seen = None
    if plan.kind == "whole":
        seen = _as_seen(picture.pixels, space)
    elif plan.kind == "fitted":
        seen = _as_seen(_reduced(picture, plan.height, plan.width), space)
    seconds = time.perf_counter() - started
    return Prepared(picture, plan, space, seen, name, quality, seed, seconds=seconds)


def name_of(image: Any) -> str:
    """What to call the outputs of a picture by: a file's name without extension, else ``picture``."""
    return Path(os.fspath(image)).stem if isinstance(image, (str, os.PathLike)) else "picture"


def read_mask(mask: Any, picture: Picture, max_pixels: int) -> Array | None:
    """A mask in any form as (H, W) float32 in [0, 1]; None stays None.

    Args:
        mask: in any form that `dereflect.images.read_any` takes. One of the picture's proportions in another
            size is brought to its size.
        picture: what it belongs to.
        max_pixels: larger masks are refused.

    Raises:
        InputError: it cannot be read, or is of other proportions.
    """
    if mask is None:
        return None
    try:
        drawn = read_any(mask, max_pixels)
    except InputError as error:
        if error.subject != UNNAMED:
            raise
        raise error.about("mask") from error
    values = convert_depth(drawn.pixels, np.dtype(np.float32))
    values = values if drawn.grey else values.mean(axis=2)
    if (drawn.width, drawn.height) == (picture.width, picture.height):
        return values
    stretch = (drawn.width / picture.width) / (drawn.height / picture.height)
    # The shorter side of a small mask is a rounded number of pixels: allow it that pixel, too.
    if abs(stretch - 1) > max(SAME_SHAPE, 1 / min(drawn.width, drawn.height)):
        raise InputError(
            None,
            f"is {drawn.width} x {drawn.height} and the picture {picture.width} x {picture.height}; "
            "their proportions must be the same",
            option="mask",
        )
    image = Image.fromarray(values).resize((picture.width, picture.height), Image.Resampling.BILINEAR)
    return np.asarray(image).clip(0.0, 1.0)


def _reduced(picture: Picture, height: int, width: int) -> Array:
    """The pixels reduced to (height, width) or (height, width, 3), every original pixel counted."""
    pixels = picture.pixels
    if pixels.dtype == np.uint8:
        return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))
    planes = pixels[..., None] if picture.grey else pixels
    resized = [
        np.asarray(
            Image.fromarray(planes[..., channel].astype(np.float32)).resize(
                (width, height), Image.Resampling.BICUBIC
            )
        )
        for channel in range(planes.shape[2])
    ]
    small = np.stack(resized, axis=-1).clip(0, picture.scale)
    if pixels.dtype == np.uint16:
        small = np.rint(small).astype(np.uint16)
    return small[..., 0] if picture.grey else small


def _as_seen(pixels: Array, space: ColourSpace | None) -> Tensor:
    """Pixels of any depth, (H, W) or (H, W, 3), as (3, H, W) float32 sRGB in [0, 1]; grey three times."""
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    if space is not None:
        pixels = space.to_srgb(pixels)
    return to_tensor(pixels)

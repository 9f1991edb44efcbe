"""How much of the reflection to take away, and where."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dereflect.errors import UNNAMED, DereflectError, InputError
from dereflect.images import Picture, read_any
from dereflect.images.picture import Array, convert_depth

SAME_SHAPE = 0.01
"""How far proportions of a drawing may differ from the picture's (reduced copies are rounded to pixels)."""


class Removal(NamedTuple):
    """How much of the reflection to take away, and where.

    Attributes:
        strength: 0 to 1, share of the reflection that is taken away; below 0 down to -1, share of everything
            but the reflection that is taken away.
        mask: (H, W) float32 in [0, 1], where it is taken away; None for everywhere.
    """

    strength: float = 1.0
    mask: Array | None = None

    def share(self, start: int, stop: int) -> Tensor | None:
        """What share of the change to make in some rows: one number, or (rows, W); None for all of it."""
        if self.strength == 1.0 and self.mask is None:
            return None
        share = torch.tensor(abs(self.strength))
        return share if self.mask is None else share * torch.from_numpy(self.mask[start:stop])


def make_removal(strength: float, mask: Any, picture: Picture, max_pixels: int) -> Removal:
    """Check what is to be taken away from a picture, and read the mask.

    Args:
        strength: -1 to 1, see `Removal`.
        mask: as for `read_mask`.
        picture: from which it is taken away.
        max_pixels: larger masks are refused.

    Raises:
        InputError: a strength outside its bounds, or as `read_mask`.
    """
    if not -1.0 <= strength <= 1.0:
        raise InputError(strength, "give a number from -1 to 1", option="strength")
    return Removal(strength, read_mask(mask, picture, max_pixels))


def read_mask(mask: Any, picture: Picture, max_pixels: int) -> Array | None:
    """A mask in any form as (H, W) float32 in [0, 1]; None stays None.

    Args:
        mask: in any form that `dereflect.images.read_any` takes. One of the picture's proportions in another
            size is brought to its size.
        picture: what it belongs to.
        max_pixels: larger masks are refused.

    Raises:
        InputError, MissingExtra: it cannot be read, or is of other proportions.
    """
    if mask is None:
        return None
    try:
        drawn = read_any(mask, max_pixels)
    except DereflectError as error:
        if error.subject != UNNAMED:
            raise
        raise error.about("mask") from error
    values = convert_depth(drawn.pixels, np.dtype(np.float32))
    values = values if drawn.grey else values.mean(axis=2)
    if (drawn.width, drawn.height) == (picture.width, picture.height):
        return values
    check_proportions(drawn.width, drawn.height, picture, "mask")
    image = Image.fromarray(values).resize((picture.width, picture.height), Image.Resampling.BILINEAR)
    return np.asarray(image).clip(0.0, 1.0)


def check_proportions(width: int, height: int, picture: Picture, option: str) -> None:
    """Refuse what is drawn over a picture and has other proportions.

    Args:
        width, height: of what is drawn.
        picture: what it belongs to.
        option: the argument that it came in.

    Raises:
        InputError: width and height are in another proportion than the picture's.
    """
    stretch = (width / picture.width) / (height / picture.height)
    # The shorter side of a small drawing is a rounded number of pixels: allow it that pixel, too.
    if abs(stretch - 1) > max(SAME_SHAPE, 1 / min(width, height)):
        raise InputError(
            None,
            f"is {width} x {height} and the picture {picture.width} x {picture.height}; "
            "their proportions must be the same",
            option=option,
        )

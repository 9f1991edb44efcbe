"""What a person drew over a photo: here is reflection, and here is scene."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dereflect.errors import UNNAMED, DereflectError, InputError
from dereflect.images import Picture, read_any
from dereflect.images.picture import Array, convert_depth
from dereflect.inference.removal import check_proportions

REFLECTION_COLOUR, SCENE_COLOUR = "red", "blue"
"""Colours of strokes: strongest in this channel."""
COLOURED = 0.4
"""By how much, of 1, a stroke's channel must exceed both others."""
OPAQUE = 0.5
"""Alpha from which a pixel counts as touched: soft edges are cut in their middle."""
STRANGE = 0.1
"""Share of the touched pixels that may have another colour: where strokes cross, and along soft edges."""


class Strokes(NamedTuple):
    """Where a person says what a photo shows; both (H, W) bool, H and W those of the drawing.

    Attributes:
        reflection: the separation left reflection here, or took too little of it away.
        scene: the separation took away scene here.
    """

    reflection: Array
    scene: Array

    def at(self, height: int, width: int) -> Tensor:
        """(2, height, width) float32 in [0, 1]: what share of each pixel is touched by either kind."""
        both = torch.from_numpy(np.stack([self.reflection, self.scene])).float()
        return F.interpolate(both[None], size=(height, width), mode="area")[0]


def read_strokes(strokes: Any, picture: Picture, max_pixels: int) -> Strokes | None:
    """Strokes in any form; None where nothing is touched.

    Args:
        strokes: `Strokes`, or a picture in any form that `dereflect.images.read_any` takes, with
            transparency: red where there is reflection, blue where there is scene, transparent where nothing
            is said. Of the photo's size, or of its proportions.
        picture: the photo.
        max_pixels: larger drawings are refused.

    Raises:
        InputError, MissingExtra: it cannot be read, has no transparency or another colour, or is of other
            proportions.
    """
    if strokes is None:
        return None
    found = strokes if isinstance(strokes, Strokes) else _drawn(strokes, max_pixels)
    height, width = found.reflection.shape
    check_proportions(width, height, picture, "strokes")
    return found if found.reflection.any() or found.scene.any() else None


def _drawn(strokes: Any, max_pixels: int) -> Strokes:
    try:
        drawing = read_any(strokes, max_pixels)
    except DereflectError as error:
        if error.subject != UNNAMED:
            raise
        raise error.about("strokes") from error
    if drawing.alpha is None:
        reason = "has no transparency; what is untouched must be transparent"
        raise InputError(None, reason, option="strokes")
    touched = convert_depth(drawing.alpha, np.dtype(np.float32)) >= OPAQUE
    colours = convert_depth(drawing.pixels, np.dtype(np.float32))
    if drawing.grey:
        colours = np.repeat(colours[..., None], 3, axis=2)
    red, green, blue = colours[..., 0], colours[..., 1], colours[..., 2]
    reflection = touched & (red - np.maximum(green, blue) >= COLOURED)
    scene = touched & (blue - np.maximum(red, green) >= COLOURED)
    strange = touched & ~reflection & ~scene
    if strange.sum() > STRANGE * touched.sum():
        row, column = np.argwhere(strange)[strange.sum() // 2]
        shown = "#" + "".join(f"{round(float(value) * 255):02x}" for value in colours[row, column])
        raise InputError(
            None,
            f"the colour {shown} at {column}, {row} means nothing; {REFLECTION_COLOUR} marks reflection, "
            f"{SCENE_COLOUR} marks scene, and the rest is transparent",
            option="strokes",
        )
    return Strokes(reflection, scene)

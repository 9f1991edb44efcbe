"""Joint geometry: one random scale, flip, rotation and crop for all pictures of a pair or triplet.

The rule and the order of draws are those of the published trainers of YTMT (Hu & Guo, NeurIPS 2021) and its
successors, with Python's `random` as the source.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from dereflect.errors import InputError


@dataclass(frozen=True)
class JointGeometry:
    """Random geometry that is drawn once and done to every picture alike.

    Raises:
        InputError: a number out of range; names it.
    """

    crop: int = 224
    """Side of the square crop in pixels."""
    scale: tuple[int, int] = (224, 448)
    """Range of the shorter side before the crop, inclusive; odd draws are rounded down to even."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    rotate: float = 0.0
    """Probability of a turn by 90, 180 or 270 degrees that keeps the picture's frame (its corners may be
    lost).
    """

    def __post_init__(self) -> None:
        if not 0 < self.crop <= 2 * (self.scale[0] // 2) or self.scale[0] > self.scale[1]:
            raise InputError(
                f"crop={self.crop} and scale={self.scale} do not fit",
                "the crop must be at most the smallest even scale",
            )

    def apply(self, pictures: Sequence[Image.Image], draws: random.Random) -> list[Image.Image]:
        """Draw and apply, in the order: scale, flip, (rotation, angle,) top, left.

        The first picture decides the orientation and the crop's range. Each picture is scaled by its own
        aspect ratio.

        Args:
            pictures: 8-bit pictures that show one scene.
            draws: advanced by the same number of draws for the same options, except that a rotation draws its
                angle and that a picture of exactly the crop's size draws no position.
        """
        target = draws.randint(*self.scale) // 2 * 2
        by_height = pictures[0].width >= pictures[0].height
        scaled = [scale_side(picture, target, by_height) for picture in pictures]
        if draws.random() < self.flip:
            scaled = [picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for picture in scaled]
        if self.rotate and draws.random() < self.rotate:
            angle = draws.choice([90, 180, 270])
            scaled = [picture.rotate(angle) for picture in scaled]
        width, height = scaled[0].size
        top = left = 0
        if (width, height) != (self.crop, self.crop):
            top, left = draws.randint(0, height - self.crop), draws.randint(0, width - self.crop)
        return [picture.crop((left, top, left + self.crop, top + self.crop)) for picture in scaled]


def even_up(value: int) -> int:
    """The smallest even number that is not below `value`."""
    return value + value % 2


def scaled_size(width: int, height: int, target: int, by_height: bool) -> tuple[int, int]:
    """(width, height) with the height (or the width) scaled to `target`; the other side rounds up to even."""
    if by_height:
        return (width, height) if height == target else (even_up(int(target * width / height)), target)
    return (width, height) if width == target else (target, even_up(int(target * height / width)))


def scale_side(picture: Image.Image, target: int, by_height: bool) -> Image.Image:
    """Scale a picture as `scaled_size` says (bicubic)."""
    size = scaled_size(*picture.size, target, by_height)
    return picture if size == picture.size else picture.resize(size, Image.Resampling.BICUBIC)


def align_size(picture: Image.Image, reference: tuple[int, int], multiple: int = 16) -> Image.Image:
    """Resize (bicubic) to the size of a reference picture (width, height), floored to a multiple."""
    size = tuple(max(multiple, side // multiple * multiple) for side in reference)
    return picture if size == picture.size else picture.resize((size[0], size[1]), Image.Resampling.BICUBIC)

"""From a picture to the square that the network sees, and back to the picture's own size (DiffRS, arXiv
2606.04107).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from dereflect.errors import InputError

Aspect = Literal["square", "keep"]
"""Working size: the published square, or one of the same area in the picture's own proportions."""

Filter = Literal["bilinear", "nearest-exact"]


def working_size(height: int, width: int, resolution: int, aspect: Aspect = "square") -> tuple[int, int]:
    """Height and width to work at for a picture of `height` x `width`.

    Args:
        resolution: side of the square, or of the square of equal area. Multiples of 64 suit the network best.
        aspect: "square" as published; "keep" rounds each side to a multiple of 32.

    Raises:
        InputError: `resolution` is not a positive multiple of 8.
    """
    if resolution <= 0 or resolution % 8:
        low = max(8, resolution // 8 * 8)
        raise InputError(f"resolution={resolution} must be a positive multiple of 8; take {low} or {low + 8}")
    if aspect == "square":
        return resolution, resolution
    scale = resolution / math.sqrt(height * width)
    unit = 32 if resolution >= 256 else 8
    return max(unit, round(height * scale / unit) * unit), max(unit, round(width * scale / unit) * unit)


def to_working(picture: Tensor, size: tuple[int, int], mode: Filter = "bilinear") -> Tensor:
    """Resize (B, 3, H, W) in [0, 1] to `size`, with antialiasing if bilinear, and bring it to [-1, 1]."""
    if mode == "bilinear":
        resized = F.interpolate(picture, size=size, mode="bilinear", align_corners=False, antialias=True)
    else:
        resized = F.interpolate(picture, size=size, mode=mode)
    return resized * 2 - 1


def to_unit(decoded: Tensor) -> Tensor:
    """The decoder's range to [0, 1], clipped."""
    return (decoded.clamp(-1, 1) + 1) / 2


def to_size(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (B, 3, h, w) in [0, 1] from the working size to `size`, clipped to [0, 1].

    Where no side grows, every pixel is the mean of the area it covers; else antialiased bilinear.
    """
    height, width = picture.shape[-2:]
    if size == (height, width):
        return picture.clamp(0, 1)
    if size[0] <= height and size[1] <= width:
        return F.interpolate(picture, size=size, mode="area").clamp(0, 1)
    resized = F.interpolate(picture, size=size, mode="bilinear", align_corners=False, antialias=True)
    return resized.clamp(0, 1)


def to_bytes(picture: Tensor, rounding: Literal["floor", "nearest"] = "floor") -> Tensor:
    """[0, 1] floats to uint8. The release floors, which darkens by half a level on average; "nearest" does
    not.
    """
    levels = picture * 255
    return (levels if rounding == "floor" else levels.round()).clamp(0, 255).to(torch.uint8)

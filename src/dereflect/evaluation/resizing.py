"""The two ways in which protocols resize: bicubic on 8 bit, and by way of a square on floats."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dereflect.images.picture import Array


def resized(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Pillow's bicubic resize of (H, W, 3) 8-bit values to `size` (width, height)."""
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def to_square(photo: NDArray[np.uint8], side: int) -> Array:
    """(H, W, 3) 8 bit to (side, side, 3) float32 in [0, 1]: antialiased bilinear, aspect ratio not kept."""
    return _interpolated(photo.astype(np.float32) / np.float32(255), side, side, "bilinear")


def from_square(layer: Array, height: int, width: int) -> Array:
    """A square layer in [0, 1] back to (height, width, 3), as DiffRS does it.

    Areas are averaged where both sides shrink or stay; otherwise antialiased bilinear.
    """
    side = layer.shape[0]
    return _interpolated(layer, height, width, "area" if height <= side and width <= side else "bilinear")


def _interpolated(picture: Array, height: int, width: int, how: str) -> Array:
    import torch
    import torch.nn.functional as F

    if picture.shape[:2] == (height, width):
        return picture
    batch = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
    antialias: dict[str, Any] = {} if how == "area" else {"antialias": True, "align_corners": False}
    result = F.interpolate(batch, (height, width), mode=how, **antialias)
    return result[0].permute(1, 2, 0).clamp(0, 1).numpy()

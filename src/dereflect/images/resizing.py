"""Smaller copies of pictures, every pixel counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from dereflect.images.picture import Array, Picture


def reduced(picture: Picture, height: int, width: int) -> Array:
    """The pixels reduced to (height, width) or (height, width, 3), in their own depth; alpha left out."""
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


def within(picture: Picture, widest: int, tallest: int) -> Picture:
    """The picture, reduced in its proportions to a width and a height at most; itself where it fits."""
    scale = min(widest / picture.width, tallest / picture.height)
    if scale >= 1:
        return picture
    height, width = (max(1, int(side * scale)) for side in (picture.height, picture.width))
    alpha = picture.alpha
    if alpha is not None:
        alpha = reduced(Picture(alpha), height, width)
    return replace(picture, pixels=reduced(picture, height, width), alpha=alpha)

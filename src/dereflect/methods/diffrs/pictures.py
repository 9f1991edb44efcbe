"""From a caller's picture to the square that the network sees, and back (DiffRS, arXiv 2606.04107)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from dereflect.errors import InputError

Aspect = Literal["square", "keep"]
"""Working size: the published square, or one of the same area in the picture's own proportions."""

Filter = Literal["bilinear", "nearest-exact"]

OutputType = Literal["pil", "np", "pt", "latent"]


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
        raise InputError(
            resolution, f"must be a positive multiple of 8; take {low} or {low + 8}", setting="resolution"
        )
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


def read_pictures(image: Any) -> list[Tensor]:
    """Turn a picture, a batch or a list into (1, 3, H, W) float32 tensors in [0, 1].

    Raises:
        InputError: something that is no picture, or an empty list.
    """
    if isinstance(image, Tensor) and image.dim() == 4:
        image = list(image)
    items = list(image) if isinstance(image, list | tuple) else [image]
    if not items:
        raise InputError("image", "no picture was given")
    return [_read(item) for item in items]


def _read(item: Any) -> Tensor:
    if isinstance(item, Image.Image):
        item = np.array(ImageOps.exif_transpose(item).convert("RGB"))
    if isinstance(item, np.ndarray):
        if item.ndim != 3 or item.shape[2] != 3:
            raise InputError(f"array of shape {item.shape}", "is not a picture; give (height, width, 3)")
        item = torch.from_numpy(np.ascontiguousarray(item)).permute(2, 0, 1)
    if not isinstance(item, Tensor) or item.dim() != 3 or item.shape[0] != 3:
        shape = tuple(item.shape) if isinstance(item, Tensor) else type(item).__name__
        raise InputError(shape, "is not a picture; give a PIL image, an array or a (3, height, width) tensor")
    tensor = item.float() / 255 if item.dtype == torch.uint8 else item.float()
    return tensor[None]


def deliver(
    pictures: Tensor,
    sizes: Sequence[tuple[int, int]],
    kind: OutputType,
    resize: Callable[[Tensor, tuple[int, int]], Tensor],
) -> Any:
    """Bring (B, 3, h, w) in [0, 1] to each picture's own size, as PIL images, arrays or tensors.

    Arrays and tensors are stacked where the sizes agree, else a list. Eight-bit pictures are rounded to
    nearest.
    """
    sized = [resize(picture[None], size)[0] for picture, size in zip(pictures, sizes, strict=True)]
    if kind == "pt":
        return torch.stack(sized) if len(set(sizes)) == 1 else sized
    arrays = [picture.permute(1, 2, 0).cpu().numpy() for picture in sized]
    if kind == "np":
        return np.stack(arrays) if len(set(sizes)) == 1 else arrays
    return [Image.fromarray((array * 255).round().astype(np.uint8)) for array in arrays]

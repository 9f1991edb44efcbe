"""Pictures as callers of the pipeline have them, to tensors and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from dereflect.errors import InputError

OutputType = Literal["pil", "np", "pt", "latent"]


def read_pictures(image: Any) -> list[Tensor]:
    """Turn a picture, a batch or a list into (1, 3, H, W) float32 tensors in [0, 1].

    Raises:
        InputError: something that is no picture, or an empty list.
    """
    if isinstance(image, Tensor) and image.dim() == 4:
        image = list(image)
    items = list(image) if isinstance(image, list | tuple) else [image]
    if not items:
        raise InputError("no picture was given")
    return [_read(item) for item in items]


def _read(item: Any) -> Tensor:
    if isinstance(item, Image.Image):
        item = np.array(ImageOps.exif_transpose(item).convert("RGB"))
    if isinstance(item, np.ndarray):
        if item.ndim != 3 or item.shape[2] != 3:
            raise InputError(f"an array of shape {item.shape} is no picture; give (height, width, 3)")
        item = torch.from_numpy(np.ascontiguousarray(item)).permute(2, 0, 1)
    if not isinstance(item, Tensor) or item.dim() != 3 or item.shape[0] != 3:
        shape = tuple(item.shape) if isinstance(item, Tensor) else type(item).__name__
        raise InputError(f"{shape} is no picture; give a PIL image, an array or a (3, height, width) tensor")
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

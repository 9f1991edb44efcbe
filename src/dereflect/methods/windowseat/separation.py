"""A whole photo through the network: tiles, batches, one picture again, and the reflection that is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dereflect.methods.windowseat.tiling import FloatPixels, Mosaic, TilePlan, cut, resized

Network = Callable[[Tensor, int], Tensor]
"""Tiles (B, 3, P, P) in about [-1, 1] and the number of the first, to tiles of the transmission."""
OutputRounding = Literal["float", "published"]


def canvas(
    photo: NDArray[Any],
    plan: TilePlan,
    resolution: int,
    network: Network,
    batch: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> FloatPixels:
    """The transmission on the plan's canvas, (H, W, 3) in about [-1, 1].

    Args:
        photo: (h, w, 3) floats in [0, 1].
        plan: of this photo.
        resolution: side of the network's square.
        batch: tiles at once.
        progress: called with the tiles done and their number.
    """
    values = (photo.astype(np.float64) * 2 - 1).astype(np.float32)
    tiles = cut(resized(values, plan.height, plan.width), plan, resolution)
    mosaic = Mosaic(plan)
    for first in range(0, len(tiles), batch):
        chosen = torch.from_numpy(np.stack(tiles[first : first + batch])).permute(0, 3, 1, 2)
        found = network(chosen, first).float().cpu().permute(0, 2, 3, 1).numpy()
        for number, tile in enumerate(found, start=first):
            mosaic.add(number, tile)
            if progress is not None:
                progress(number + 1, len(tiles))
    return mosaic.picture()


def finished(canvas: FloatPixels, width: int, height: int, rounding: OutputRounding = "float") -> FloatPixels:
    """A canvas as a picture of the photo's size, (H, W, 3) in [0, 1].

    Args:
        rounding: ``published`` cuts to 8 bit before the size is brought back, as the original does; ``float``
            keeps the photo's depth.
    """
    unit = np.clip((canvas + np.float32(1)) / np.float32(2), 0, 1)
    if rounding == "float":
        return np.clip(resized(unit, height, width), 0, 1)
    levels = Image.fromarray((unit * np.float32(255)).astype(np.uint8))
    if levels.size != (width, height):
        levels = levels.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(levels, dtype=np.float32) / np.float32(255)


def reflection_left(blended: Tensor, transmission: Tensor) -> Tensor:
    """What the photo has more light of than its transmission, of sRGB values in [0, 1].

    The network gives the transmission alone; this layer is a definition of ours. Where the network made the
    scene brighter than the photo it is black, and the two layers do not add up to the photo.
    """
    return _encoded((_decoded(blended) - _decoded(transmission)).clamp_min(0))


def _decoded(values: Tensor) -> Tensor:
    return torch.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _encoded(light: Tensor) -> Tensor:
    return torch.where(light <= 0.0031308, light * 12.92, 1.055 * light.clamp_min(1e-9) ** (1 / 2.4) - 0.055)

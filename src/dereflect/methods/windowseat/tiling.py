"""How a photo is cut into square tiles, and how their results become one picture again.

Two plans are the original's: at most four tiles an axis, each of which the network sees reduced to its own
side, so that large photos come back soft. The third is ours: tiles of the network's side, as many as needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dereflect.errors import InputError

Mode = Literal["short-edge", "more-tiles", "detail"]
FloatPixels = NDArray[np.float32]

OVERLAP, MOST_TILES = 64, 4
SMALLEST_WEIGHT = 1e-3


@dataclass(frozen=True)
class TilePlan:
    """Where the tiles of one photo lie."""

    width: int
    height: int
    """Size of the canvas: the photo's, or larger where the photo is smaller than a tile."""
    side: int
    """Side of every tile in pixels of the canvas."""
    corners: tuple[tuple[int, int], ...]
    """(left, top) of each tile, row by row."""

    @property
    def boxes(self) -> list[tuple[int, int, int, int]]:
        """(left, top, right, bottom) of each tile."""
        return [(x, y, x + self.side, y + self.side) for x, y in self.corners]


def plan_tiles(
    width: int,
    height: int,
    resolution: int,
    mode: Mode = "short-edge",
    overlap: int | tuple[int, int] = OVERLAP,
    most: int | tuple[int, int] = MOST_TILES,
) -> TilePlan:
    """Plan the tiles of a photo.

    Args:
        width, height: of the photo.
        resolution: side of the square that the network sees.
        mode: ``short-edge``: tiles as wide as the shorter side; ``more-tiles``: tiles of `resolution` as long
            as `most` suffice, else larger ones; ``detail``: tiles of `resolution`, however many.
        overlap: pixels that neighbouring tiles share at least; of both axes or (across, down).
        most: tiles an axis at most, in the first two modes; the same.

    Raises:
        InputError: the photo is too long for so few tiles, or the resolution not larger than the overlap.
    """
    wanted = max(min(width, height), resolution) if mode == "short-edge" else resolution
    canvas = _canvas(width, height, wanted)
    shared = overlap if isinstance(overlap, tuple) else (overlap, overlap)
    counts = most if isinstance(most, tuple) else (most, most)
    axes = list(zip(canvas, shared, counts, strict=True))
    low = max(shared) + 1 if mode == "detail" else max(_smallest_side(*axis) for axis in axes)
    high = min(canvas)
    if low > high:
        raise InputError(
            f"{width}x{height}",
            f"tiles of {high} pixels do not cover this photo: {most} an axis, {overlap} pixels shared",
        )
    side = max(low, min(wanted, high))
    across, down = (_starts(length, side, shared) for length, shared, _ in axes)
    return TilePlan(*canvas, side, tuple((x, y) for y in down for x in across))


def _canvas(width: int, height: int, wanted: int) -> tuple[int, int]:
    if width >= wanted and height >= wanted:
        return width, height
    scale = wanted / min(width, height)
    return round(scale * width), round(scale * height)


def _smallest_side(length: int, overlap: int, most: int) -> int:
    side = length if most == 1 else math.ceil((length + (most - 1) * overlap) / most)
    return max(side, overlap + 1)


def _starts(length: int, side: int, overlap: int) -> list[int]:
    if length <= side:
        return [0]
    starts = list(range(0, length - side + 1, side - overlap))
    return starts if starts[-1] == length - side else [*starts, length - side]


def cut(picture: FloatPixels, plan: TilePlan, resolution: int) -> list[FloatPixels]:
    """The tiles of a picture (H, W, 3) of the canvas's size, each resized to the network's square."""
    tiles = (picture[top:bottom, left:right] for left, top, right, bottom in plan.boxes)
    return [resized(tile, resolution, resolution) for tile in tiles]


class Mosaic:
    """Collects the results of tiles, weighted by a tent that is 1 in the middle of each."""

    def __init__(self, plan: TilePlan) -> None:
        self.plan = plan
        self._sum = np.zeros((plan.height, plan.width, 3), np.float32)
        self._weights = np.zeros((plan.height, plan.width, 1), np.float32)
        slope = np.arange(plan.side, dtype=np.float32) * np.float32(2) / np.float32(max(plan.side - 1, 1))
        tent = np.float32(1) - np.abs(slope - np.float32(1))
        self._tent = np.maximum(tent[:, None] * tent[None], np.float32(SMALLEST_WEIGHT))[..., None]

    def add(self, number: int, tile: FloatPixels) -> None:
        """Add the result (P, P, 3) of a tile by its number in the plan."""
        left, top, right, bottom = self.plan.boxes[number]
        self._sum[top:bottom, left:right] += self._tent * resized(tile, self.plan.side, self.plan.side)
        self._weights[top:bottom, left:right] += self._tent

    def picture(self) -> FloatPixels:
        """The canvas, (H, W, 3)."""
        return np.divide(self._sum, np.maximum(self._weights, np.float32(1e-6)), dtype=np.float32)


def resized(picture: FloatPixels, height: int, width: int) -> FloatPixels:
    """Lanczos of (H, W, C) floats, channel by channel; values are not clipped."""
    if picture.shape[:2] == (height, width):
        return picture
    channels = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(picture[..., c], dtype=np.float32)).resize(
                (width, height), Image.Resampling.LANCZOS
            )
        )
        for c in range(picture.shape[2])
    ]
    return np.stack(channels, axis=-1).astype(np.float32, copy=False)

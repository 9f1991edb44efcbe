"""Decoded photos held in memory as 8-bit arrays, and random crops of them: what keeps a CPU training fed."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from dereflect.data.pairs import read_rgb
from dereflect.errors import InputError
from dereflect.images import PICTURE_SUFFIXES
from dereflect.images.tensors import to_tensor


def list_pictures(folder: Path) -> list[Path]:
    """All picture files of a folder and its sub-folders, sorted by path; hidden ones are skipped.

    Raises:
        InputError: there is none.
    """
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
    if not paths:
        raise InputError(folder, "holds no pictures")
    return paths


def held_out(path: Path, every: int) -> bool:
    """Whether a photo belongs to the fixed 1/`every` part that training never sees (by its name's CRC-32)."""
    return every > 0 and zlib.crc32(path.name.encode()) % every == 0


def decode(path: Path, short_side: int | None = None) -> Image.Image:
    """A picture as `dereflect.data.pairs.read_rgb` reads it, for Pillow's resizing."""
    return Image.fromarray(read_rgb(path, short_side))


def decode_all(paths: Iterable[Path], short_side: int | None = None, threads: int = 2) -> list[Image.Image]:
    """Decode many pictures with a few threads, in order."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda path: decode(path, short_side), paths))


def random_crop(
    images: list[Image.Image], size: int, rng: np.random.Generator, smallest: float = 0.6
) -> list[Tensor]:
    """The same random square of pictures of one size, scaled to `size`, with the same flip.

    The square's side is drawn between `smallest` x `size` (or the picture's shorter side, if that is less)
    and the picture's shorter side, so that objects appear at many scales.

    Returns:
        One (3, size, size) float32 tensor in [0, 1] for each picture.
    """
    width, height = images[0].size
    short = min(width, height)
    side = round(float(rng.uniform(min(smallest * size, short), short)))
    left, top = int(rng.integers(0, width - side + 1)), int(rng.integers(0, height - side + 1))
    flip = rng.random() < 0.5
    crops = []
    for image in images:
        crop = image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
        crops.append(to_tensor(crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else crop))
    return crops

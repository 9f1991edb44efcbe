"""Pictures that belong together on disk, in the field's usual layout.

The folders are ``blended``, ``transmission_layer`` and ``reflection_layer``. Pictures belong together when
their names without extension are equal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dereflect.errors import InputError
from dereflect.images import PICTURE_SUFFIXES, read, upright_size
from dereflect.images.picture import convert_depth

BLENDED, TRANSMISSION, REFLECTION = "blended", "transmission_layer", "reflection_layer"


@dataclass(frozen=True)
class Pair:
    """A photo through glass with its true layers."""

    name: str
    """File name without extension."""
    blended: Path
    transmission: Path
    reflection: Path | None = None

    def paths(self) -> dict[str, Path]:
        """The files that exist, by role."""
        found = {"blended": self.blended, "transmission": self.transmission}
        return found | ({"reflection": self.reflection} if self.reflection else {})


def read_pairs(folder: Path | str, check_sizes: bool = True) -> list[Pair]:
    """List the pairs of a data folder in natural order of their names.

    Args:
        folder: holds ``blended`` and ``transmission_layer`` and, where the reflection is known,
            ``reflection_layer``.
        check_sizes: open each file's header and refuse a pair whose pictures differ in size.

    Raises:
        InputError: a folder is missing or empty, a picture has no partner, two pictures share a stem, or
            sizes differ;
            the message names the file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(folder, f"no such folder; it should hold '{BLENDED}' and '{TRANSMISSION}'")
    for needed in (BLENDED, TRANSMISSION):
        if not (folder / needed).is_dir():
            raise InputError(
                folder, f"has no folder '{needed}'; expected '{BLENDED}' and '{TRANSMISSION}' in it"
            )
    blended, transmission = pictures_by_stem(folder / BLENDED), pictures_by_stem(folder / TRANSMISSION)
    reflection = pictures_by_stem(folder / REFLECTION) if (folder / REFLECTION).is_dir() else None
    if not blended:
        raise InputError(folder / BLENDED, "holds no pictures")
    _same_stems(blended, transmission, folder / TRANSMISSION)
    if reflection is not None:
        _same_stems(blended, reflection, folder / REFLECTION)
    pairs = [
        Pair(stem, blended[stem], transmission[stem], reflection[stem] if reflection is not None else None)
        for stem in natural_order(blended)
    ]
    if check_sizes:
        for pair in pairs:
            refuse_different_sizes(pair)
    return pairs


def pictures_by_stem(folder: Path) -> dict[str, Path]:
    """The pictures directly in `folder` by stem; hidden files and other kinds are skipped.

    Raises:
        InputError: two pictures share a stem.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in PICTURE_SUFFIXES or path.name.startswith(".") or not path.is_file():
            continue
        if path.stem in found:
            raise InputError(
                path, f"same name as {found[path.stem].name}; pictures are matched by name, keep one"
            )
        found[path.stem] = path
    return found


def natural_order(names: Iterable[str]) -> list[str]:
    """Sort so that numbers count as numbers: 2 before 10."""
    return sorted(
        names,
        key=lambda name: [
            (part.isdecimal(), int(part) if part.isdecimal() else 0, part)
            for part in re.split(r"(\d+)", name)
        ],
    )


def refuse_different_sizes(pair: Pair) -> None:
    """Raise an InputError that names both files if the pictures of a pair differ in size."""
    width, height = upright_size(pair.blended)
    for path in list(pair.paths().values())[1:]:
        other = upright_size(path)
        if other != (width, height):
            raise InputError(
                path,
                f"is {other[0]}x{other[1]}, but {pair.blended} is {width}x{height}; "
                "pictures of a pair must be of one size",
            )


def read_rgb(path: Path, short_side: int | None = None) -> NDArray[np.uint8]:
    """Read a picture as training and evaluation see it: upright, RGB, 8 bit, without alpha.

    Args:
        short_side: reduce a picture whose shorter side is longer than this (Lanczos).

    Returns:
        (H, W, 3).

    Raises:
        InputError, MissingExtra: as `dereflect.images.read`.
    """
    pixels = convert_depth(read(path, short_side=short_side).pixels, np.dtype(np.uint8))
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    height, width = pixels.shape[:2]
    if short_side and min(height, width) > short_side:
        scale = short_side / min(height, width)
        size = (round(width * scale), round(height * scale))
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
    return pixels


def _same_stems(blended: dict[str, Path], partners: dict[str, Path], folder: Path) -> None:
    missing = natural_order(set(blended) - set(partners))
    if missing:
        raise InputError(blended[missing[0]], f"has no partner of that name in {folder}{_more(missing)}")
    extra = natural_order(set(partners) - set(blended))
    if extra:
        raise InputError(
            partners[extra[0]], f"has no partner of that name among the blended pictures{_more(extra)}"
        )


def _more(names: list[str]) -> str:
    return f" (nor have {len(names) - 1} others)" if len(names) > 1 else ""

"""Pictures that belong together on disk: folders ``blended``, ``transmission_layer`` and
``reflection_layer``.

This is the field's usual layout. Pictures belong together when their names without extension are equal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from dereflect.errors import InputError

BLENDED, TRANSMISSION, REFLECTION = "blended", "transmission_layer", "reflection_layer"
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})


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
        raise InputError(f"{folder}: no such folder; it should hold '{BLENDED}' and '{TRANSMISSION}'")
    for needed in (BLENDED, TRANSMISSION):
        if not (folder / needed).is_dir():
            raise InputError(
                f"{folder}: has no folder '{needed}'; expected '{BLENDED}' and '{TRANSMISSION}' in it"
            )
    blended, transmission = pictures_by_stem(folder / BLENDED), pictures_by_stem(folder / TRANSMISSION)
    reflection = pictures_by_stem(folder / REFLECTION) if (folder / REFLECTION).is_dir() else None
    if not blended:
        raise InputError(f"{folder / BLENDED}: holds no pictures")
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
    """The pictures directly in `folder` by stem; hidden files and other kinds are passed over.

    Raises:
        InputError: two pictures share a stem.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith(".") or not path.is_file():
            continue
        if path.stem in found:
            raise InputError(
                f"{path}: same name as {found[path.stem].name}; pictures are matched by name, keep one"
            )
        found[path.stem] = path
    return found


def natural_order(names: Iterable[str]) -> list[str]:
    """Sort so that numbers count as numbers: 2 before 10."""
    return sorted(
        names,
        key=lambda name: [
            (part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)
        ],
    )


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) as the picture is shown, from the header alone.

    Raises:
        InputError: not a readable picture.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(0x0112, 1) >= 5
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError) as error:
        raise InputError(f"{path}: not a readable picture ({_first_line(error)})") from error
    return (height, width) if turned else (width, height)


def refuse_different_sizes(pair: Pair) -> None:
    """Raise an InputError that names both files if the pictures of a pair differ in size."""
    width, height = picture_size(pair.blended)
    for path in list(pair.paths().values())[1:]:
        other = picture_size(path)
        if other != (width, height):
            raise InputError(
                f"{path}: is {other[0]}x{other[1]}, but {pair.blended} is {width}x{height}; "
                "pictures of a pair must be of one size"
            )


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Read a picture as (H, W, 3) uint8 RGB, turned upright as its EXIF orientation says.

    Raises:
        InputError: not a readable picture.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(upright_rgb(image))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError) as error:
        raise InputError(f"{path}: not a readable picture ({_first_line(error)})") from error


def upright_rgb(image: Image.Image) -> Image.Image:
    """The picture turned upright and converted to 8-bit RGB."""
    turned: Any = ImageOps.exif_transpose(image)
    return turned.convert("RGB")


def _same_stems(blended: dict[str, Path], partners: dict[str, Path], folder: Path) -> None:
    missing = natural_order(set(blended) - set(partners))
    if missing:
        raise InputError(f"{blended[missing[0]]}: has no partner of that name in {folder}{_more(missing)}")
    extra = natural_order(set(partners) - set(blended))
    if extra:
        raise InputError(
            f"{partners[extra[0]]}: has no partner of that name among the blended pictures{_more(extra)}"
        )


def _more(names: list[str]) -> str:
    return f" (nor have {len(names) - 1} others)" if len(names) > 1 else ""


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

"""EXIF: read what a file says, and mark its orientation as applied without disturbing the rest.

EXIF is edited in place, byte by byte, because rebuilding it moves the camera maker's notes, whose inner
offsets then point nowhere. Only a block that is damaged, or too large for its format, is rebuilt.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from dereflect.images.ifd import Directory, Structure
from dereflect.images.picture import Array

ORIENTATION = 0x0112
EXIF_FOLDER, GPS_FOLDER, INTEROP_FOLDER = 0x8769, 0x8825, 0xA005
FOLDERS = (EXIF_FOLDER, GPS_FOLDER)
PIXEL_WIDTH, PIXEL_HEIGHT = 0xA002, 0xA003
IPTC_TAG, XMP_TAG, ICC_TAG, PHOTOSHOP_TAG = 33723, 700, 34675, 34377
# Of a TIFF's own tags, those that describe the picture and not how its pixels lie in the file.
DESCRIPTIVE_TAGS = (
    *(
        0x010D,
        0x010E,
        0x010F,
        0x0110,
        0x011D,
        0x0131,
        0x0132,
        0x013B,
        0x013C,
    ),  # title, make, model, artist, ...
    *(0x4746, 0x4749, 0x8298, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F),  # rating, copyright, title to subject
    *(EXIF_FOLDER, GPS_FOLDER),
)
_INTEROP_INDEX, _COLOUR_SPACE = 1, 0xA001
_LARGEST_KEPT = 1 << 24  # bytes of EXIF; more is an error in a length


def apply_orientation(values: Array, orientation: int) -> Array:
    """Turn (H, W, ...) upright by an EXIF orientation, 1 to 8."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return np.ascontiguousarray(values)


def orientation_of(exif: bytes | Structure, directory: Directory | None = None) -> int | None:
    """The orientation, 1 to 8, that the first entry of it states, of whatever type; None where none does.

    Args:
        exif: a TIFF structure, or the bytes of one.
        directory: where to look, the first if not given.
    """
    try:
        structure = Structure(exif) if isinstance(exif, bytes) else exif
    except ValueError:
        return None
    directory = directory or structure.directory(structure.first)
    found = structure.whole_numbers(directory.get(ORIENTATION))
    return found[0] if found and found[0] in range(1, 9) else None


def uses_adobe_rgb(exif: bytes) -> bool:
    """Whether EXIF says, as cameras do in place of a profile, that the colours are Adobe RGB."""
    try:
        structure = Structure(exif)
    except ValueError:
        return False
    inner = _below(structure, structure.directory(structure.first), EXIF_FOLDER)
    if inner is not None and structure.whole_numbers(inner.get(_COLOUR_SPACE)) == (2,):
        return True
    interop = None if inner is None else _below(structure, inner, INTEROP_FOLDER)
    if interop is None:
        return False
    return structure.content(interop.get(_INTEROP_INDEX)).startswith(b"R03")


def settle(exif: bytes, swapped: bool) -> tuple[bytes | None, list[str]]:
    """EXIF that is true of the upright picture, and a note where some of it could not be kept.

    Args:
        exif: a TIFF structure, with or without the leading ``Exif`` marker.
        swapped: whether width and height change places.
    """
    exif = exif.removeprefix(b"Exif\x00\x00")
    if not exif or len(exif) > _LARGEST_KEPT:
        return None, ["its EXIF is damaged and is not kept"] if exif else []
    if not _is_whole(exif):
        exif = _rebuilt(exif)
        if not exif:
            return None, ["its EXIF is damaged and is not kept"]
        return mark_upright(exif, swapped) or None, ["its EXIF is damaged; what could be read is kept"]
    return mark_upright(exif, swapped) or None, []


def mark_upright(exif: bytes, swapped: bool = False) -> bytes:
    """Set every orientation in an EXIF block to 1, in its own type, and unlink the embedded thumbnail.

    The thumbnail shows the old picture.

    Args:
        exif: a TIFF structure; one that cannot be followed comes back empty.
        swapped: whether width and height change places, so that the recorded pixel sizes must too.
    """
    try:
        structure = Structure(exif)
    except ValueError:
        return b""
    block = bytearray(exif)
    first = structure.directory(structure.first)
    if not first.entries and not first.whole:
        return b""
    for directory in structure.chain():  # the thumbnail has an orientation of its own
        mark_directory(block, structure, directory)
    if first.pointer is not None:
        block[first.pointer : first.pointer + structure.width] = bytes(structure.width)
    inner = _below(structure, first, EXIF_FOLDER)
    if inner is not None:
        mark_directory(block, structure, inner)
        if swapped:
            _swap_sizes(block, structure, inner)
    return bytes(block)


def shrunk(exif: bytes, largest: int) -> tuple[bytes | None, bool]:
    """EXIF of at most `largest` bytes, its largest entries left out; whether any had to be."""
    if len(exif) <= largest:
        return exif, False
    block = _loaded(exif)
    folders = [(block, block.get_ifd(tag)) for tag in (EXIF_FOLDER, GPS_FOLDER)]
    tables: list[Any] = [block, *(folder for _, folder in folders)]
    sizes = sorted(
        ((_size(value), number, tag) for number, table in enumerate(tables) for tag, value in table.items()),
        reverse=True,
    )
    for size, number, tag in sizes:
        if size < 8:
            break
        del tables[number][tag]
        if (content := _written(block)) and len(content) <= largest:
            return mark_upright(content), True
    return None, True


def mark_directory(block: bytearray, structure: Structure, directory: Directory) -> None:
    """Set every orientation of a directory to 1, in its own type, within the structure's bytes."""
    for entry in directory.entries:
        if entry.tag == ORIENTATION and 0 < entry.count <= 64:
            one = structure.packed(entry.kind, 1)
            size = structure.bytes_of(entry)
            padding = b"\0" if len(one) == 1 and size > 1 and entry.kind == 2 else b""
            content = one + padding * (size - 1) if padding else one * entry.count
            block[entry.place : entry.place + size] = content[:size]


def _swap_sizes(block: bytearray, structure: Structure, inner: Directory) -> None:
    width, height = inner.get(PIXEL_WIDTH), inner.get(PIXEL_HEIGHT)
    a, b = structure.whole_numbers(width), structure.whole_numbers(height)
    if width is None or height is None or len(a) != 1 or len(b) != 1:
        return
    for entry, value in ((width, b[0]), (height, a[0])):
        size = structure.bytes_of(entry)
        if 0 < value < 1 << (8 * size):
            block[entry.place : entry.place + size] = structure.packed(entry.kind, value)


def _below(structure: Structure, directory: Directory, tag: int) -> Directory | None:
    found = structure.whole_numbers(directory.get(tag))
    below = structure.directory(found[0]) if found else None
    return below if below is not None and below.entries else None


def _is_whole(exif: bytes) -> bool:
    try:
        structure = Structure(exif)
    except ValueError:
        return False
    return all(directory.whole for directory in _kept_directories(structure))


def _kept_directories(structure: Structure) -> Iterator[Directory]:
    first = structure.directory(structure.first)
    yield first
    for tag in (EXIF_FOLDER, GPS_FOLDER):
        found = structure.whole_numbers(first.get(tag))
        if found:
            yield structure.directory(found[0])


def _rebuilt(exif: bytes) -> bytes:
    """A new block of what Pillow can read of a damaged one, as far as it is of known tags."""
    block = _loaded(exif)
    for tag in [tag for tag in block if tag not in ExifTags.TAGS]:
        del block[tag]
    return _written(block)


@contextlib.contextmanager
def whatever_it_is() -> Iterator[None]:
    """Within, Pillow may raise whatever damage leads it to, and warn: what it has read by then counts."""
    with warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        yield


def _loaded(exif: bytes) -> Image.Exif:
    block = Image.Exif()
    with whatever_it_is():
        block.load(exif)
        for tag in FOLDERS:
            block.get_ifd(tag)
    return block


def _written(block: Image.Exif) -> bytes:
    if not len(block):
        return b""
    try:
        return block.tobytes().removeprefix(b"Exif\x00\x00")
    except Exception:  # entries of a type that the writer does not foresee
        return b""


def _size(value: Any) -> int:
    if isinstance(value, dict):
        return 0
    return (
        len(value) if isinstance(value, (bytes, str)) else 8 * len(value) if isinstance(value, tuple) else 1
    )


def composed(first: Mapping[int, Any], exif: Mapping[int, Any], gps: Mapping[int, Any]) -> bytes:
    """A new EXIF block of values by tag: of its first directory, EXIF's own, and GPS's; empty where none is.

    An entry that cannot be written is left out.
    """
    block = Image.Exif()
    for table, number in ((first, None), (exif, EXIF_FOLDER), (gps, GPS_FOLDER)):
        kept = {tag: value for tag, value in table.items() if _written(_block_of(tag, value, number))}
        if number is None:
            block.update({tag: value for tag, value in kept.items() if tag not in FOLDERS})
        elif kept:
            block[number] = kept
    return _written(block)


def _block_of(tag: int, value: Any, folder: int | None) -> Image.Exif:
    block = Image.Exif()
    block[tag if folder is None else folder] = value if folder is None else {tag: value}
    return block


def mark_uncalibrated(exif: bytes) -> bytes:
    """Let EXIF say that the colours are not those of sRGB: the profile tells which."""
    block, structure = bytearray(exif), Structure(exif)
    inner = _below(structure, structure.directory(structure.first), EXIF_FOLDER)
    entry = None if inner is None else inner.get(_COLOUR_SPACE)
    if entry is not None:
        content = structure.packed(entry.kind, 65535)
        block[entry.place : entry.place + len(content)] = content
    return bytes(block)


def describe_tiff(*blocks: Image.Exif) -> bytes:
    """An EXIF block of a TIFF's descriptive tags, those of later blocks first; empty where it has none."""
    described = Image.Exif()
    for block in blocks:
        for tag in DESCRIPTIVE_TAGS:
            value: Any = None
            with whatever_it_is():
                value = block.get_ifd(tag) if tag in FOLDERS else block.get(tag)
            if value:
                described[tag] = value
    if not len(described):
        return b""
    described[ORIENTATION] = 1
    return _written(described)

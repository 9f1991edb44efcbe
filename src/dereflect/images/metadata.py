"""EXIF and XMP: read what a file says, and mark its orientation as applied without disturbing the rest.

EXIF is edited in place, byte by byte, because rebuilding it moves the camera maker's notes, whose inner
offsets then point nowhere.
"""

from __future__ import annotations

import re
import struct
from typing import Any

import numpy as np
from PIL import Image

from dereflect.images.picture import Array, Metadata

ORIENTATION = 0x0112
EXIF_FOLDER, GPS_FOLDER = 0x8769, 0x8825
PIXEL_WIDTH, PIXEL_HEIGHT = 0xA002, 0xA003
# Of a TIFF's own tags, those that describe the picture and not how its pixels lie in the file.
DESCRIPTIVE_TAGS = (
    *(0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C, 0x8298),  # title, make, model, ..., copyright
    *(EXIF_FOLDER, GPS_FOLDER),
)


def collect(image: Image.Image) -> tuple[Metadata, int]:
    """Metadata of a loaded Pillow image, and the orientation (1 to 8) that its pixels still need."""
    exif = image.getexif()
    orientation = exif.get(ORIENTATION, 1)
    orientation = orientation if orientation in range(1, 9) else 1
    raw = image.info.get("exif")
    if image.format == "TIFF":
        raw = _describe_tiff(exif)
    elif not raw and len(exif):  # e.g. PNG with EXIF as text
        raw = exif.tobytes()
    if raw:
        raw = mark_upright(bytes(raw).removeprefix(b"Exif\x00\x00"), swapped=orientation >= 5)
    xmp = image.info.get("xmp")
    if isinstance(xmp, str):
        xmp = xmp.encode("utf-8")
    dpi = image.info.get("dpi")
    if dpi is not None:
        dpi = (float(dpi[0]), float(dpi[1]))
        dpi = (dpi[1], dpi[0]) if orientation >= 5 else dpi
        dpi = dpi if min(dpi) > 0 and all(np.isfinite(dpi)) else None
    icc = image.info.get("icc_profile")
    return Metadata(raw or None, icc or None, _mark_xmp_upright(xmp) if xmp else None, dpi), orientation


def apply_orientation(values: Array, orientation: int) -> Array:
    """Turn (H, W, ...) upright by an EXIF orientation, 1 to 8."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return np.ascontiguousarray(values)


def mark_upright(exif: bytes, swapped: bool = False) -> bytes:
    """Set the orientation in an EXIF block to 1 and unlink the embedded thumbnail, which shows the old
    picture.

    Args:
        exif: a TIFF structure; one that cannot be followed comes back empty.
        swapped: whether width and height change places, so that the recorded pixel sizes must too.
    """
    block = bytearray(exif)
    order = {b"II": "<", b"MM": ">"}.get(bytes(block[:2]))
    if order is None:
        return b""
    try:
        (first,) = struct.unpack_from(order + "L", block, 4)
        entries, end = _entries(block, order, first)
        for tag, (kind, place) in entries.items():
            if tag == ORIENTATION and kind == 3:
                struct.pack_into(order + "H", block, place, 1)
        if end + 4 <= len(block):
            struct.pack_into(order + "L", block, end, 0)
        if swapped and EXIF_FOLDER in entries:
            (folder,) = struct.unpack_from(order + "L", block, entries[EXIF_FOLDER][1])
            inner, _ = _entries(block, order, folder)
            if (
                PIXEL_WIDTH in inner
                and PIXEL_HEIGHT in inner
                and inner[PIXEL_WIDTH][0] == inner[PIXEL_HEIGHT][0]
            ):
                a, b = inner[PIXEL_WIDTH][1], inner[PIXEL_HEIGHT][1]
                block[a : a + 4], block[b : b + 4] = block[b : b + 4], block[a : a + 4]
    except struct.error:
        return b""
    return bytes(block)


def _entries(block: bytearray, order: str, start: int) -> tuple[dict[int, tuple[int, int]], int]:
    """Tags of the folder at `start`, as {tag: (kind, place of its value)}, and where its entries end."""
    (count,) = struct.unpack_from(order + "H", block, start)
    entries = {}
    for index in range(count):
        place = start + 2 + 12 * index
        tag, kind = struct.unpack_from(order + "HH", block, place)
        struct.unpack_from("4s", block, place + 8)  # a folder cut short is an error here, not later
        entries[tag] = (kind, place + 8)
    return entries, start + 2 + 12 * count


def _mark_xmp_upright(xmp: bytes) -> bytes:
    xmp = re.sub(rb'(tiff:Orientation\s*=\s*["\'])[1-8](["\'])', rb"\g<1>1\g<2>", xmp)
    return re.sub(rb"(<tiff:Orientation>)\s*[1-8]\s*(</tiff:Orientation>)", rb"\g<1>1\g<2>", xmp)


def _describe_tiff(exif: Image.Exif) -> bytes:
    described = Image.Exif()
    for tag in DESCRIPTIVE_TAGS:
        value: Any = exif.get_ifd(tag) if tag in (EXIF_FOLDER, GPS_FOLDER) else exif.get(tag)
        if value:
            described[tag] = value
    if not len(described):
        return b""
    described[ORIENTATION] = 1
    return described.tobytes()

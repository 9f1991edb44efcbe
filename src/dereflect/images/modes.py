"""Pillow's modes brought to the few that a `Picture` has."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import BinaryIO

import numpy as np
from PIL import Image

from dereflect.errors import UNNAMED, InputError
from dereflect.images import colour
from dereflect.images.picture import Metadata

SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I")


def in_plain_mode(image: Image.Image, known: Metadata, notes: list[str]) -> tuple[Image.Image, Metadata]:
    """Bring any Pillow mode to L, LA, RGB, RGBA or 16-bit grey, or refuse it."""
    if image.mode in ("L", "RGB", "P", "PA") and "transparency" in image.info:
        return image.convert("LA" if image.mode == "L" else "RGBA"), known
    if image.mode in ("P", "YCbCr", "RGBX"):
        return image.convert("RGB"), known
    if image.mode in ("PA", "RGBa"):
        return image.convert("RGBA"), known
    if image.mode == "La":
        return image.convert("LA"), known
    if image.mode == "1":
        return image.convert("L"), known
    if image.mode == "CMYK":
        if not colour.is_cmyk(known.icc):
            raise InputError(UNNAMED, "is CMYK without a colour profile; convert it to RGB")
        notes.append("CMYK was converted to sRGB by its profile")
        return colour.cmyk_to_srgb(image, known.icc or b""), replace(known, icc=None)
    if image.mode == "I":
        low, high = image.getextrema()
        if not 0 <= float(np.asarray(low)) <= float(np.asarray(high)) <= 65535:
            raise InputError(
                UNNAMED, "holds 32-bit integers beyond 0 to 65535; convert it to 8 or 16 bit unsigned"
            )
    elif image.mode not in ("L", "LA", "RGB", "RGBA", *SIXTEEN_BITS):
        raise InputError(UNNAMED, f"has the colour mode {image.mode}; convert it to RGB")
    return image, known


def is_lossy_webp(file: BinaryIO) -> bool:
    """Whether a WebP file lost something when it was written."""
    file.seek(12)
    while len(chunk := file.read(8)) == 8:
        if chunk[:4] in (b"VP8 ", b"VP8L"):
            return chunk[:4] == b"VP8 "
        size = int.from_bytes(chunk[4:], "little")
        file.seek(size + size % 2, os.SEEK_CUR)
    return True

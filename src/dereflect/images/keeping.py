"""What each format can hold of a picture and what is said of it: sizes, metadata, transparency, colours."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from dereflect.errors import UNNAMED, InputError, Remedy
from dereflect.images import colour, metadata
from dereflect.images.jpeg import LONGEST_SEGMENT, iptc_segment
from dereflect.images.picture import Metadata, Picture, white

LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383, "AVIF": 32_768, "HEIF": 32_768, "PNG": 2**31 - 1}
"""Pixels of the longer side that a format can hold, or that its encoder and decoder take."""

_FIELDS = {
    "JPEG": {"exif", "icc", "xmp", "dpi", "iptc", "comment"},
    "PNG": {"exif", "icc", "xmp", "dpi", "iptc", "comment", "texts", "time"},
    "TIFF": {"exif", "icc", "xmp", "dpi", "iptc"},
    "WEBP": {"exif", "icc", "xmp"},
    "HEIF": {"exif", "icc", "xmp"},
    "AVIF": {"exif", "icc", "xmp"},
    "BMP": {"dpi"},
}
_WORDS = {
    **{"exif": "EXIF", "xmp": "XMP", "iptc": "IPTC", "comment": "comment", "texts": "texts"},
    **{"dpi": "resolution", "time": "time of change"},
}
_WITHOUT_ALPHA = ("JPEG", "BMP")
_WITHOUT_GREY = ("WEBP", "HEIF", "AVIF", "BMP")


def check_size(format_name: str, width: int, height: int) -> None:
    """Refuse a picture that is too large for a format, before anything is written.

    Raises:
        InputError: says how large the format goes.
    """
    longest = LONGEST_SIDE.get(format_name)
    if longest is not None and max(width, height) > longest:
        raise InputError(
            UNNAMED,
            f"{width} x {height} is too large for {format_name}, which ends at {longest} pixels",
            remedy=Remedy("choose {} png or tiff", "format"),
        )


def fitted(picture: Picture, format_name: str) -> tuple[Picture, str]:
    """What a format will hold of a picture, and in one sentence what it will not; "" where it holds all.

    Colours stay what they are: where the format holds no profile, or no grey, pixels are converted to sRGB.

    Raises:
        InputError: the format holds no transparency, and the picture needs it; or is too small for it.
    """
    check_size(format_name, picture.width, picture.height)
    if picture.alpha is not None and format_name in _WITHOUT_ALPHA:
        if not is_opaque(picture):
            raise InputError(
                UNNAMED,
                f"has transparency, which {format_name} cannot hold",
                remedy=Remedy("choose {} png, tiff or webp", "format"),
            )
        picture = replace(picture, alpha=None)
    picture = _in_colours_of(picture, format_name)
    known, lost = _kept(picture.metadata, format_name)
    note = f"its {_listed(lost)} cannot be kept in {format_name}" if lost else ""
    return replace(picture, metadata=known), note


def is_opaque(picture: Picture) -> bool:
    """Whether no pixel is transparent at all."""
    return picture.alpha is None or bool((picture.alpha == white(picture.alpha.dtype)).all())


def _in_colours_of(picture: Picture, format_name: str) -> Picture:
    icc = picture.metadata.icc
    if icc is None or picture.pixels.dtype not in (np.uint8, np.uint16):
        return picture
    without_profile = "icc" not in _FIELDS.get(format_name, {"icc"})
    if not without_profile and not (picture.grey and format_name in _WITHOUT_GREY):
        return picture
    space = colour.colour_space(icc, picture.grey)
    if space is not None:
        picture = replace(picture, pixels=space.to_srgb(picture.pixels))
    return replace(picture, metadata=replace(picture.metadata, icc=None))


def _kept(known: Metadata, format_name: str) -> tuple[Metadata, list[str]]:
    """Metadata that the format holds, and words for what it does not."""
    fields = _FIELDS.get(format_name, set(_WORDS) | {"icc"})
    lost = [words for name, words in _WORDS.items() if getattr(known, name) and name not in fields]
    if "resolution" in lost and (len(lost) == 1 or not fields):
        lost.remove("resolution")  # EXIF says it too, or nobody misses it
    nothing: dict[str, Any] = {name: () if name == "texts" else None for name in _WORDS if name not in fields}
    known = replace(known, **nothing)
    if format_name == "JPEG":
        known, more = _within_segments(known)
        lost += more
    return known, lost


def _within_segments(known: Metadata) -> tuple[Metadata, list[str]]:
    """What JPEG holds, of which every piece has 64 kB at most."""
    lost = []
    if known.exif:
        exif, cut = metadata.shrunk(known.exif, LONGEST_SEGMENT)
        if cut:
            lost.append("largest EXIF entries (over 64 kB)" if exif else "EXIF (over 64 kB)")
        known = replace(known, exif=exif)
    if known.xmp and len(known.xmp) > LONGEST_SEGMENT:
        lost.append("XMP (over 64 kB)")
        known = replace(known, xmp=None)
    if known.iptc and not iptc_segment(known.iptc):
        lost.append("IPTC (over 64 kB)")
        known = replace(known, iptc=None)
    if known.comment and len(known.comment) > LONGEST_SEGMENT:
        lost.append("comment (over 64 kB)")
        known = replace(known, comment=None)
    return known, lost


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"

"""From a `Picture` to a file: in the format it came in or another, with its metadata, whole or not at all."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from typing import Any

import numpy as np

from dereflect.errors import OVERWRITE, UNNAMED, DereflectError, InputError, MissingExtra, Remedy, first_line
from dereflect.files import writing
from dereflect.images.containers import RAW, SUFFIXES
from dereflect.images.jpeg import iptc_segment
from dereflect.images.keeping import fitted
from dereflect.images.picture import Metadata, Picture, convert_depth

FORMATS = {"png": "PNG", "jpg": "JPEG", "tiff": "TIFF", "webp": "WEBP"}
"""Names of the option ``format`` to Pillow's names; ``keep`` takes the input's own."""

QUALITY = 95


def target_format(source: str, wanted: str = "keep") -> str:
    """Pillow's name of the format to write for a picture of format `source` when `wanted` is asked for.

    Raises:
        InputError: an unknown `wanted`.
    """
    if wanted != "keep":
        if wanted not in FORMATS:
            raise InputError(wanted, f"unknown; one of keep, {', '.join(FORMATS)}", option="format")
        return FORMATS[wanted]
    if source == RAW:
        return "TIFF"
    return source if source in SUFFIXES and source != "GIF" else "PNG"  # GIF has too few colours


def suffix_of(format_name: str, own: str = "") -> str:
    """The extension of a format; the picture's own where it is a true one (``.JPG`` stays ``.JPG``)."""
    known = SUFFIXES[format_name]
    return own if own.lower() in known else known[0]


def encode(picture: Picture, format_name: str, metadata: bool = True) -> bytes:
    """A picture file's content.

    JPEG is written at quality 95 without chroma subsampling; WebP without loss where the picture came without
    loss.

    Args:
        picture: what to write.
        format_name: Pillow's name, e.g. ``"JPEG"`` (see `target_format`).
        metadata: keep EXIF, profile, XMP and resolution. Without, only the profile is kept if colours need
            it.

    Raises:
        InputError: the format cannot hold the picture (alpha in a JPEG), or is too small for it.
        MissingExtra: HEIC or 16-bit colour without the package that writes it.
    """
    picture, _ = fitted(_stripped(picture, metadata), format_name)
    if format_name == "TIFF":
        from dereflect.images.tiff_writing import encode_tiff

        return encode_tiff(picture)
    if format_name == "PNG" and picture.pixels.dtype != np.uint8:
        from dereflect.images.png_writing import encode_deep_png

        return encode_deep_png(picture.with_pixels(convert_depth(picture.pixels, np.dtype(np.uint16))))
    image = picture.with_pixels(convert_depth(picture.pixels, np.dtype(np.uint8))).to_pil()
    image.info.clear()
    buffer = io.BytesIO()
    try:
        image.save(buffer, format=format_name, **_save_options(picture, format_name))
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            UNNAMED,
            f"cannot be written as {format_name} ({first_line(error)})",
            remedy=Remedy("choose another {}", "format"),
        ) from error
    if format_name == "PNG":
        return _with_png_texts(buffer.getvalue(), picture.metadata)
    return buffer.getvalue()


def loss(picture: Picture, format_name: str, metadata: bool = True) -> str:
    """One sentence on what a format will not hold of a picture's metadata; "" where it holds all.

    Raises:
        InputError: as `encode`.
    """
    return fitted(_stripped(picture, metadata), format_name)[1]


def _stripped(picture: Picture, metadata: bool) -> Picture:
    return picture if metadata else replace(picture, metadata=Metadata(icc=picture.metadata.icc))


def _with_png_texts(content: bytes, known: Metadata) -> bytes:
    """With what Pillow does not write by itself."""
    if not (known.texts or known.iptc or known.comment or known.time):
        return content
    from dereflect.images.png_writing import with_metadata

    return with_metadata(content, replace(known, exif=None, icc=None, xmp=None, dpi=None))


def _save_options(picture: Picture, format_name: str) -> dict[str, Any]:
    known = picture.metadata
    options: dict[str, Any] = {}
    if format_name == "BMP":
        return {"dpi": known.dpi} if known.dpi else {}
    if known.icc:
        options["icc_profile"] = known.icc
    if known.dpi and format_name in ("JPEG", "PNG"):
        options["dpi"] = known.dpi
    exif, xmp = known.exif, known.xmp
    if format_name == "JPEG":
        options |= {"quality": QUALITY, "subsampling": 0}
        if known.comment:
            options["comment"] = known.comment
        if known.iptc:
            options["extra"] = iptc_segment(known.iptc)
    elif format_name == "WEBP":
        options |= {"lossless": picture.lossless, "quality": QUALITY, "exact": True}
    elif format_name == "HEIF":
        _import_heif()
        options |= {"quality": QUALITY, "chroma": "444"}
    elif format_name == "AVIF":
        options |= {"quality": QUALITY, "subsampling": "4:4:4"}
    elif format_name == "PNG":
        options["compress_level"] = 4  # half the time of 6 for two per cent more bytes
    if exif:
        options["exif"] = b"Exif\x00\x00" + exif if format_name in ("JPEG", "HEIF") else exif
    if xmp and format_name == "PNG":
        from PIL.PngImagePlugin import PngInfo

        chunks = PngInfo()
        chunks.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
        options["pnginfo"] = chunks
    elif xmp:
        options["xmp"] = xmp
    return options


def _import_heif() -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise MissingExtra("pillow-heif", "heif", "writing HEIC") from error
    pillow_heif.register_heif_opener()


def write(
    picture: Picture,
    path: str | os.PathLike[str],
    format_name: str,
    metadata: bool = True,
    overwrite: bool = False,
) -> None:
    """Encode a picture and put it at `path`, whole or not at all.

    Raises:
        InputError: as `encode` and `write_bytes`.
        MissingExtra: as `encode`.
    """
    try:
        content = encode(picture, format_name, metadata)
    except DereflectError as error:
        raise error.about(path) from error
    write_bytes(content, path, overwrite)


def write_bytes(content: bytes, path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Write a file under a temporary name beside `path`, then move it there in one step.

    Nothing half-written is ever seen at `path`, and the temporary file goes away whatever happens, Ctrl-C
    included.

    Args:
        content: the bytes.
        path: where to; its folder is made if need be.
        overwrite: replace a file that is there already.

    Raises:
        InputError: something is there and `overwrite` is off, or the folder cannot be written, or the disk is
            full.
    """
    try:
        with writing(path, overwrite) as temporary:
            temporary.write_bytes(content)
    except FileExistsError as error:
        raise InputError(path, "exists already", remedy=OVERWRITE) from error

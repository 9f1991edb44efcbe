"""What a file is, told by its first bytes and its name, and what to do with one that cannot be read."""

from __future__ import annotations

import os
import re

from dereflect.errors import UNNAMED, InputError

SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".pjpeg", ".pjp", ".mpo"),
    "PNG": (".png", ".apng"),
    "TIFF": (".tiff", ".tif"),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "HEIF": (".heic", ".heif", ".hif"),
    "AVIF": (".avif",),
}
"""Pillow's names of the formats that are read, and their extensions in lower case; the first is the usual."""

PICTURE_SUFFIXES = frozenset(suffix for known in SUFFIXES.values() for suffix in known)

RAW = "RAW"
"""Our name of the format of raw files, whatever the camera."""
_RAW_NAMES = """
3fr arw bay cr2 cr3 crw dcr dcs dng drf erf fff gpr iiq k25 kdc mdc mef mos mrw
nef nrw orf pef ptx pxn raf rw2 rwl rwz sr2 srf srw x3f"""
RAW_SUFFIXES = frozenset(f".{name}" for name in _RAW_NAMES.split())
"""Extensions of raw files that are looked for in folders, in lower case."""
_SELDOM_RAW_SUFFIXES = frozenset({".ari", ".cap", ".eip", ".r3d", ".raw"})
DEVELOP = "develop it first, in the camera's own program or in darktable, and give that TIFF or JPEG"

_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_FILM_BRANDS = {
    b"isom",
    b"iso2",
    b"iso4",
    b"iso5",
    b"iso6",
    b"mp41",
    b"mp42",
    b"avc1",
    b"qt  ",
    b"M4V ",
    b"3gp4",
}
_RAW_SIGNATURES = (
    *(b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM"),
    b"ARRI\x12\x34\x56\x78",
)
_CONVERT = "convert it to JPEG, PNG or TIFF"
_OTHERS = (
    (b"\xff\x0a", "is JPEG XL, which is not read; " + _CONVERT),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "is JPEG XL, which is not read; " + _CONVERT),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "is JPEG 2000, which is not read; " + _CONVERT),
    (b"\xff\x4f\xff\x51", "is JPEG 2000, which is not read; " + _CONVERT),
    (b"\xff\xd8\xff\xf7", "is JPEG-LS, which is not read; " + _CONVERT),
    (b"II\xbc\x01", "is JPEG XR, which is not read; " + _CONVERT),
    (b"8BPS", "is a Photoshop file, which is not read; export it as PNG or TIFF"),
    (b"gimp xcf", "is a GIMP file, which is not read; export it as PNG or TIFF"),
    (b"v/1\x01", "is OpenEXR, which is not read; " + _CONVERT),
    (b"#?RADIANCE", "is a Radiance picture, which is not read; " + _CONVERT),
    (b"#?RGBE", "is a Radiance picture, which is not read; " + _CONVERT),
    (b"qoif", "is QOI, which is not read; " + _CONVERT),
    (b"DDS ", "is a DDS texture, which is not read; " + _CONVERT),
    (b"\0\0\x01\0", "is an icon, which is not read; " + _CONVERT),
    (b"FLIF", "is FLIF, which is not read; " + _CONVERT),
    (b"BPG\xfb", "is BPG, which is not read; " + _CONVERT),
    (b"%PDF", "is not a picture but a PDF; export its page as PNG"),
    (b"%!PS", "is not a picture but PostScript; export its page as PNG"),
    (b"PK\x03\x04", "is not a picture but a ZIP archive; unpack it first"),
    (b"\x1f\x8b", "is not a picture but a gzip archive; unpack it first"),
    (b"\x1aE\xdf\xa3", "is not a picture but a film (Matroska or WebM); use dereflect video"),
    (b"RIFF....AVI ", "is not a picture but a film (AVI); use dereflect video"),
    (
        b"version https://git-lfs",
        "is not a picture but a pointer of Git LFS; fetch the file itself with git lfs pull",
    ),
)


def identify(head: bytes, name: str | os.PathLike[str] = "") -> str:
    """Pillow's name of the format that a file has, or `RAW`.

    A TIFF may turn out to be raw too, once its directories are read.

    Args:
        head: its first 512 bytes, or all where it has fewer.
        name: its path; the suffix tells raw files that look like others.

    Raises:
        InputError: it is of no format that is read; says which it is, and what to do.
    """
    if _is_raw(head):
        return RAW
    found = _known(head)
    suffix = os.path.splitext(os.fspath(name))[1].lower()
    if suffix in RAW_SUFFIXES | _SELDOM_RAW_SUFFIXES and found in (None, "TIFF"):
        return RAW
    if found is None:
        raise InputError(UNNAMED, _other(head))
    return found


def brands(head: bytes) -> set[bytes]:
    """Brands of an ISO base media file (HEIC, AVIF, films), from its first box; none of other files."""
    if head[4:8] != b"ftyp":
        return set()
    size = max(12, int.from_bytes(head[:4], "big"))
    return {head[8:12], *(head[place : place + 4] for place in range(16, min(size, len(head)), 4))}


def _known(head: bytes) -> str | None:
    if head.startswith(b"\xff\xd8\xff") and head[3:4] != b"\xf7":
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in (12, 16, 40, 52, 56, 64, 108, 124):
        return "BMP"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    found = brands(head)
    if found & {b"avif", b"avis"} and not found & (_HEIF_BRANDS - {b"mif1", b"msf1"}):
        return "AVIF"
    return "HEIF" if found & _HEIF_BRANDS else None


def _is_raw(head: bytes) -> bool:
    if head[:4] in (b"II*\0", b"MM\0*") and head[8:10] == b"CR":
        return True
    return b"crx " in brands(head) or head[6:14] == b"HEAPCCDR" or head.startswith(_RAW_SIGNATURES)


def _other(head: bytes) -> str:
    for signature, words in _OTHERS:
        if re.match(signature if b"...." in signature else re.escape(signature), head, re.DOTALL):
            return words
    if brands(head) & _FILM_BRANDS or head[4:8] in (b"moov", b"mdat", b"wide"):
        return "is not a picture but a film (MP4 or QuickTime); use dereflect video"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script")):
        return "is not a picture but a web page (HTML), saved under this name; download the picture itself"
    if text.startswith((b"<?xml", b"<svg")):
        kind = "SVG" if b"<svg" in text else "XML"
        return f"is not a picture of pixels but {kind}; export it as PNG"
    if re.match(rb"p[1-7]\s", text):
        return "is a PNM picture, which is not read; " + _CONVERT
    if not any(head[:64]):
        return "is not a picture that can be read: it holds zeros, as after a download or copy that broke off"
    if head and all(byte in b"\t\n\f\r" or byte >= 32 for byte in head[:256]) and _is_text(head):
        return "is not a picture that can be read: it holds text"
    return "is not a picture that can be read, or is damaged at its beginning"


def _is_text(head: bytes) -> bool:
    try:
        head[:256].decode("utf-8", "strict")
    except UnicodeDecodeError as error:
        return error.start > 250  # a letter cut in two
    return True

"""What a raw file says beside its pixels, brought to an EXIF block of its own.

The camera's maker notes are left behind: they speak of the raw data, and their inner addresses would point
nowhere. So are the settings of raw developers in XMP, which would be applied to the result a second time.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, BinaryIO

from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from dereflect.images import bmff, jpeg, metadata, xmp
from dereflect.images.ifd import Structure
from dereflect.images.picture import Metadata
from dereflect.images.raw import RawFile

CAMERA_RAW_SETTINGS = "http://ns.adobe.com/camera-raw-settings/1.0/"
_MAKER_NOTE, _COLOUR_SPACE = 0x927C, 0xA001
_LEFT_BEHIND = {_MAKER_NOTE, metadata.INTEROP_FOLDER}
_EXPOSURE, _APERTURE, _ISO, _TAKEN, _FOCAL = 0x829A, 0x829D, 0x8827, 0x9003, 0x920A
_LENS, _ARTIST = 0xA434, 0x013B
_IN_FIRST = (_EXPOSURE, _APERTURE, 0x8822, _ISO, _TAKEN, 0x9201, 0x9202, 0x9204, 0x9207, 0x9209, _FOCAL)
"""What TIFF/EP puts into a file's first directory, and EXIF into its own."""
_CANON = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
_XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_TIFF_LIKE = {b"IIRO": b"II*\0", b"IIRS": b"II*\0", b"MMOR": b"MM\0*", b"IIU\0": b"II*\0"}
"""How Olympus and Panasonic begin what is a TIFF but for that."""


@dataclass
class _Found:
    """Values by tag, of the first directory, of EXIF's and of GPS's."""

    first: dict[int, Any] = field(default_factory=dict)
    exif: dict[int, Any] = field(default_factory=dict)
    gps: dict[int, Any] = field(default_factory=dict)
    xmp: bytes = b""
    iptc: bytes = b""


def of_raw(file: BinaryIO, raw: RawFile) -> Metadata:
    """EXIF, XMP and IPTC of a raw file, true of the developed picture but for its orientation.

    Args:
        file: it, which can be searched.
        raw: the same, as LibRaw has opened it; asked where the file says it in a form that is not known here.

    Raises:
        InputError: LibRaw was asked, and found the file damaged.
    """
    found = _found_in(file)
    if not found.first and not found.exif:  # only then: to answer, LibRaw unpacks the pixels
        _add_from_libraw(found, raw)
    inner = {tag: value for tag, value in found.exif.items() if tag not in _LEFT_BEHIND}
    inner |= {metadata.PIXEL_WIDTH: raw.width, metadata.PIXEL_HEIGHT: raw.height, _COLOUR_SPACE: 1}
    first = {tag: value for tag, value in found.first.items() if tag in metadata.DESCRIPTIVE_TAGS}
    first[metadata.ORIENTATION] = raw.orientation
    block = metadata.composed(first, inner, found.gps)
    packet = xmp.without(found.xmp, {CAMERA_RAW_SETTINGS}) if found.xmp else b""
    return Metadata(exif=block or None, xmp=packet or None, iptc=found.iptc or None)


def _found_in(file: BinaryIO) -> _Found:
    file.seek(0)
    head = file.read(16)
    if head.startswith(b"FUJIFILMCCD-RAW"):
        return _of_fujifilm(file)
    if head.startswith(b"\0MRM"):
        return _of_minolta(file)
    if b"crx " in head:
        return _of_canon(file)
    if head[:4] in _TIFF_LIKE:
        file.seek(4)
        return _of_tiff(io.BytesIO(_TIFF_LIKE[head[:4]] + file.read()))
    return _of_tiff(file)


def _of_tiff(file: BinaryIO) -> _Found:
    found = _Found()
    try:
        structure = Structure(file)
    except ValueError:
        return found
    first = structure.directory(structure.first)
    found.xmp = structure.content(first.get(metadata.XMP_TAG))
    photoshop = structure.content(first.get(metadata.PHOTOSHOP_TAG))
    found.iptc = jpeg.iptc_in(photoshop) or structure.content(first.get(metadata.IPTC_TAG)) or b""
    block = _loaded(file)
    found.first = _values(block)
    found.exif = {tag: found.first[tag] for tag in _IN_FIRST if tag in found.first}
    found.exif |= _folder(block, metadata.EXIF_FOLDER)
    found.gps = _folder(block, metadata.GPS_FOLDER)
    return found


def _of_canon(file: BinaryIO) -> _Found:
    """CR3: each of EXIF's directories is a TIFF in a box of its own."""
    found = _Found()
    for kind, start, end in bmff.top_boxes(file):
        if kind == b"moov":
            file.seek(start)
            content = file.read(min(end - start, 1 << 26))
            for inner, begin, stop in bmff.inner_boxes(content, 0):
                if inner == b"uuid" and content[begin : begin + 16] == _CANON:
                    parts = content[begin + 16 : stop]
                    blocks = {name: parts[a:b] for name, a, b in bmff.inner_boxes(parts, 0)}
                    found.first = _values(_loaded(io.BytesIO(blocks.get(b"CMT1", b""))))
                    found.exif = _values(_loaded(io.BytesIO(blocks.get(b"CMT2", b""))))
                    found.gps = _values(_loaded(io.BytesIO(blocks.get(b"CMT4", b""))))
        elif kind == b"uuid":
            file.seek(start)
            if file.read(16) == _XMP_BOX:
                found.xmp = file.read(min(end - start - 16, 1 << 24))
    return found


def _of_fujifilm(file: BinaryIO) -> _Found:
    """RAF: the camera's JPEG lies in it, with all that a JPEG says."""
    file.seek(84)
    place, size = (int.from_bytes(file.read(4), "big") for _ in range(2))
    file.seek(place)
    content = file.read(size)
    if not content.startswith(b"\xff\xd8"):
        return _Found()
    segments = jpeg.scan(io.BytesIO(content))
    found = _of_tiff(io.BytesIO(segments.exif)) if segments.exif else _Found()
    found.xmp, found.iptc = segments.xmp or b"", segments.iptc or b""
    return found


def _of_minolta(file: BinaryIO) -> _Found:
    """MRW: blocks, of which ``TTW`` is a TIFF."""
    file.seek(4)
    end = 8 + int.from_bytes(file.read(4), "big")
    place = 8
    while place + 8 <= end:
        file.seek(place)
        name, size = file.read(4), int.from_bytes(file.read(4), "big")
        if name == b"\0TTW":
            return _of_tiff(io.BytesIO(file.read(size)))
        place += 8 + size
    return _Found()


def _loaded(file: BinaryIO) -> Image.Exif:
    block = Image.Exif()
    file.seek(0)
    with metadata.whatever_it_is():
        block.load_from_fp(file)
    return block


def _values(block: Image.Exif) -> dict[int, Any]:
    found = {}
    for tag in block:
        with metadata.whatever_it_is():
            found[tag] = block[tag]
    return found


def _folder(block: Image.Exif, tag: int) -> dict[int, Any]:
    found: dict[int, Any] = {}
    with metadata.whatever_it_is():
        found = dict(block.get_ifd(tag))
    return found


def _add_from_libraw(found: _Found, raw: RawFile) -> None:
    """What LibRaw knows of the shot."""
    other, lens = raw.shot()
    shutter = Fraction(other.shutter_speed).limit_denominator(10_000) if other.shutter_speed > 0 else None
    if shutter is not None and 0 < other.shutter_speed < 0.3:
        shutter = Fraction(1, max(1, round(1 / other.shutter_speed)))
    known: Mapping[int, Any] = {
        _EXPOSURE: None if shutter is None else IFDRational(shutter.numerator, shutter.denominator),
        _APERTURE: IFDRational(round(other.aperture * 10), 10) if other.aperture > 0 else None,
        _ISO: round(other.iso_speed) if 0 < other.iso_speed < 65536 else None,
        _FOCAL: IFDRational(round(other.focal_length * 10), 10) if other.focal_length > 0 else None,
        _LENS: lens.model or None,
    }
    found.exif = {tag: value for tag, value in known.items() if value}
    if other.artist:
        found.first[_ARTIST] = other.artist

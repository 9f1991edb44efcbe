"""What a file says of its picture, settled before a pixel is decoded: one answer for every question."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from dereflect.images import bmff, colour, jpeg, metadata, png_chunks, xmp
from dereflect.images.containers import RAW, identify
from dereflect.images.ifd import Structure
from dereflect.images.picture import Metadata
from dereflect.images.profiles import (
    ADOBE_GAMMA,
    ADOBE_RGB,
    HLG,
    PQ,
    Tagged,
    from_gamma,
    rgb_profile,
)
from dereflect.images.raw import RawFile, open_raw, refuse_cut_dng
from dereflect.images.raw_metadata import of_raw
from dereflect.images.tiff_pages import Page, find_page

_HEAD = 512
_GEO_KEYS = 34735
_LARGEST_DPI = 65_535.0
_USUAL_DPI = (72.0, 72.0)  # what EXIF means where it gives no resolution


@dataclass
class Facts:
    """All that is known of a file before its pixels are decoded.

    Attributes:
        format: Pillow's name of it.
        stream: where a decoder reads the picture from.
        metadata: as it stands in the file; None where Pillow is to say.
        orientation: that of the stored pixels; None where Pillow is to say.
        bits: of one sample.
        tagged: colours told by numbers, which come before a profile.
        gamma: PNG's exponent and chromaticities, which come after one.
        transparent: the grey or colour of a PNG that is transparent, in its own levels.
        page: of a TIFF.
        raw: of a camera's raw file, opened.
        others: what the file holds besides its picture, e.g. ``gain map``.
        notes: what a person should know.
    """

    format: str
    stream: BinaryIO
    metadata: Metadata | None = None
    orientation: int | None = None
    bits: int = 8
    tagged: Tagged | None = None
    gamma: tuple[float | None, tuple[float, ...] | None] | None = None
    transparent: tuple[int, ...] | None = None
    page: Page | None = None
    raw: RawFile | None = None
    others: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


def survey(file: BinaryIO, name: str | os.PathLike[str] = "") -> Facts:
    """Find out what a file is and what it says of its picture.

    Args:
        file: it, which can be searched.
        name: its path, if it has one.

    Raises:
        InputError: it is of no kind that is read, or damaged.
    """
    file.seek(0)
    found = _SURVEYS[identify(file.read(_HEAD), name)](file)
    found.stream.seek(0)
    return found


def settle(facts: Facts, image: Image.Image | None) -> tuple[Metadata, int, list[str]]:
    """Metadata that is true of the upright picture, the orientation that its pixels still need, and notes.

    The profile is left as it stands in the file.

    Args:
        facts: of the file.
        image: the picture as Pillow opened it, for what `facts` leave to Pillow.
    """
    known = facts.metadata if facts.metadata is not None else of_pillow(image)
    orientation = facts.orientation
    if orientation is None:
        orientation = metadata.orientation_of(known.exif or b"")
    if orientation is None:
        orientation = xmp.orientation_of(known.xmp or b"")
    swapped = orientation >= 5
    exif, notes = metadata.settle(known.exif or b"", swapped)
    packet, gone = xmp.settle(known.xmp, swapped) if known.xmp else (None, [])
    gone = list(dict.fromkeys([*gone, *facts.others]))
    if gone:
        notes.append(
            f"its {' and '.join(gone)} {'is' if len(gone) == 1 and gone[0][-1] != 's' else 'are'} not kept"
        )
    return (
        replace(known, exif=exif, xmp=packet, icc=known.icc or None, dpi=_sound_dpi(known.dpi, swapped)),
        orientation,
        notes,
    )


def profile_of(facts: Facts, known: Metadata, grey: bool) -> tuple[bytes | None, Tagged | None]:
    """The profile that the pixels are in, from a profile or made of tags, and PQ or HLG if they are that.

    Raises:
        InputError: tags that stand for nothing known.
    """
    tagged = facts.tagged
    if known.icc:
        numbers = colour.tags(known.icc).get(b"cicp", b"")
        if len(numbers) >= 10 and numbers[9] in (PQ, HLG):
            tagged = Tagged(numbers[8], numbers[9])
    if tagged is not None and tagged.high_dynamic_range:
        return None, tagged
    if known.icc and facts.format != "PNG":
        return known.icc, None
    if tagged is not None:
        return tagged.profile(grey), None
    if known.icc:
        return known.icc, None
    if facts.gamma is not None:
        return from_gamma(*facts.gamma, grey), None
    if known.exif and not grey and metadata.uses_adobe_rgb(known.exif):
        return rgb_profile("Adobe RGB (1998), from EXIF", ADOBE_RGB, ADOBE_GAMMA), None
    return None, None


def of_pillow(image: Image.Image | None) -> Metadata:
    """Metadata as Pillow has read it."""
    if image is None:
        return Metadata()
    info = image.info
    exif = info.get("exif")
    if image.format == "TIFF":
        exif = metadata.describe_tiff(image.getexif())
    elif not exif and len(image.getexif()):  # set by the program that holds the image
        exif = image.getexif().tobytes()
    packet = info.get("xmp")
    photoshop = info.get("photoshop")
    comment = info.get("comment")
    return Metadata(
        exif=bytes(exif).removeprefix(b"Exif\x00\x00") if exif else None,
        icc=info.get("icc_profile") or None,
        xmp=packet.encode("utf-8") if isinstance(packet, str) else packet,
        dpi=_floats(info.get("dpi")),
        iptc=photoshop.get(0x0404) if isinstance(photoshop, dict) else None,
        comment=comment.encode("utf-8") if isinstance(comment, str) else comment,
    )


def _floats(pair: Any) -> tuple[float, float] | None:
    try:
        return None if pair is None else (float(pair[0]), float(pair[1]))
    except (TypeError, ValueError, ZeroDivisionError, IndexError, OverflowError):
        return None


def _sound_dpi(dpi: tuple[float, float] | None, swapped: bool) -> tuple[float, float] | None:
    if dpi is None or not all(np.isfinite(dpi)) or min(dpi) < 0.5 or max(dpi) > _LARGEST_DPI:
        return None
    return (dpi[1], dpi[0]) if swapped else dpi


def _survey_jpeg(file: BinaryIO) -> Facts:
    found = jpeg.scan(file)
    known = Metadata(
        exif=found.exif or None,
        icc=found.icc,
        xmp=found.xmp or None,
        iptc=found.iptc,
        comment=found.comment,
        dpi=found.dpi or _exif_dpi(found.exif),
    )
    notes = [*found.notes, *(["its extended XMP is not kept"] if found.long_xmp else [])]
    return Facts("JPEG", file, known, others=tuple(found.others), notes=notes)


def _survey_png(file: BinaryIO) -> Facts:
    found = png_chunks.scan(file)
    known = Metadata(
        exif=found.exif or None,
        icc=found.icc,
        xmp=found.xmp or None,
        dpi=found.dpi,
        iptc=found.iptc,
        texts=tuple(found.texts),
        time=found.time,
    )
    tagged = gamma = None
    if found.cicp is not None:
        if found.cicp[2:] != (0, 1):
            found.notes.append("its cICP chunk is of no kind that is known, and is not used")
        else:
            tagged = Tagged(*found.cicp[:2])
    if not found.srgb and (found.gamma is not None or found.chromaticities is not None):
        gamma = (found.gamma, found.chromaticities)
    stream = png_chunks.without(file, found.left_out)
    facts = Facts("PNG", stream, known, None, found.bits, tagged, gamma, found.transparent, notes=found.notes)
    facts.others = ("content credentials",) if found.credentials else ()
    return facts


def _survey_raw(file: BinaryIO) -> Facts:
    refuse_cut_dng(file)
    found = open_raw(file)
    known = of_raw(file, found)
    return Facts(RAW, file, known, found.orientation, bits=16, raw=found)


def _survey_tiff(file: BinaryIO) -> Facts:
    page = find_page(file)
    if page is None:
        return _survey_raw(file)
    entry = page.directory.get
    icc, packet, iptc, photoshop = (
        page.structure.content(entry(tag))
        for tag in (metadata.ICC_TAG, metadata.XMP_TAG, metadata.IPTC_TAG, metadata.PHOTOSHOP_TAG)
    )
    known = Metadata(
        exif=_tiff_exif(page) or None,
        icc=icc or None,
        xmp=packet or None,
        iptc=jpeg.iptc_in(photoshop) or iptc or None,
        dpi=_tiff_dpi(page),
    )
    orientation = metadata.orientation_of(page.structure, page.directory) or xmp.orientation_of(packet)
    found = Facts("TIFF", page.view(), known, orientation, page.bits, page=page, notes=page.notes)
    if entry(_GEO_KEYS) is not None:
        found.others = ("georeference",)
    if not icc:
        found.metadata = replace(known, icc=_tiff_profile(page))
    return found


def _tiff_exif(page: Page) -> bytes:
    blocks = []
    for view in (page.structure.file, page.view()):  # a thumbnail that comes first has the camera's name
        block = Image.Exif()
        with metadata.whatever_it_is():
            view.seek(0)
            block.load_from_fp(view)
            blocks.append(block)
    return metadata.describe_tiff(*blocks)


def _tiff_dpi(page: Page) -> tuple[float, float] | None:
    across, down = (page.structure.values(page.directory.get(tag))[:1] for tag in (282, 283))
    unit = (page.numbers(296) or (2,))[0]
    if not across or not down or unit not in (2, 3):
        return None
    scale = 1.0 if unit == 2 else 2.54
    return across[0] * scale, down[0] * scale


def _tiff_profile(page: Page) -> bytes | None:
    """A profile made of a TIFF's own tags, white point and primaries, with the curve of sRGB."""
    white, points = (page.structure.values(page.directory.get(tag)) for tag in (318, 319))
    if page.colours != 3 or len(white) != 2 or len(points) != 6:
        return None
    return from_gamma(None, (*white, *points), grey=False)


def _survey_heif(file: BinaryIO) -> Facts:
    found = bmff.scan(file)
    notes = [f"its {found.bits} bits a sample are read as 8"] if found.bits > 8 else []
    tagged = None if found.cicp is None else Tagged(*found.cicp)
    return Facts("HEIF", file, bits=found.bits, tagged=tagged, others=found.others, notes=notes)


def _survey_avif(file: BinaryIO) -> Facts:
    return replace(_survey_heif(file), format="AVIF")


def _survey_bmp(file: BinaryIO) -> Facts:
    file.seek(0)
    head = file.read(144)
    size = int.from_bytes(head[14:18], "little")
    icc = None
    if size >= 124 and head[70:74] == b"DEBM":
        place, length = struct.unpack("<LL", head[126:134])
        file.seek(14 + place)
        icc = file.read(length) or None
    gamma = None
    if size >= 108 and head[70:74] == bytes(4):
        gamma = _bmp_colours(head)
    found = Facts("BMP", file, gamma=gamma)
    if icc:
        with Image.open(file, formats=("BMP",)) as image:
            found.metadata = replace(of_pillow(image), icc=icc)
    return found


def _bmp_colours(head: bytes) -> tuple[float | None, tuple[float, ...] | None] | None:
    """The end points and gamma of a calibrated bitmap (BITMAPV4HEADER)."""
    ends = np.array(struct.unpack("<9l", head[74:110]), np.float64).reshape(3, 3) / 2**30
    gammas = np.array(struct.unpack("<3L", head[110:122]), np.float64) / 65536
    white = ends.sum(axis=0)
    if (ends.sum(axis=1) <= 0).any() or white.sum() <= 0:
        return None
    points = [value for row in (white, *ends) for value in (row / row.sum())[:2]]
    return (1 / float(gammas.mean()) if gammas.all() else None), tuple(points)


def _survey_other(kind: str) -> Callable[[BinaryIO], Facts]:
    return lambda file: Facts(kind, file)


def _exif_dpi(exif: bytes) -> tuple[float, float] | None:
    try:
        structure = Structure(exif)
    except ValueError:
        return None
    first = structure.directory(structure.first)
    across, down = (structure.values(first.get(tag))[:1] for tag in (282, 283))
    unit = (structure.whole_numbers(first.get(296)) or (2,))[0]
    if not across or unit not in (2, 3):
        return _USUAL_DPI
    scale = 1.0 if unit == 2 else 2.54
    return across[0] * scale, (down or across)[0] * scale


_SURVEYS: dict[str, Callable[[BinaryIO], Facts]] = {
    "JPEG": _survey_jpeg,
    "PNG": _survey_png,
    "TIFF": _survey_tiff,
    "HEIF": _survey_heif,
    "AVIF": _survey_avif,
    "BMP": _survey_bmp,
    "GIF": _survey_other("GIF"),
    "WEBP": _survey_other("WEBP"),
    RAW: _survey_raw,
}

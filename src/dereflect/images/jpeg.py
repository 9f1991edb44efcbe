"""The segments of a JPEG: what they say, what of it is written back, and how much of a cut file is there."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
from PIL import Image

from dereflect.errors import UNNAMED, InputError
from dereflect.images.picture import Array

LONGEST_SEGMENT = 65_500  # bytes of EXIF, XMP or comment that one segment holds, its marker apart
_EXIF, _XMP = b"Exif\x00\x00", b"http://ns.adobe.com/xap/1.0/\x00"
_LONG_XMP = b"http://ns.adobe.com/xmp/extension/\x00"
_ICC, _PHOTOSHOP = b"ICC_PROFILE\x00", b"Photoshop 3.0\x00"
_IPTC = 0x0404
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_KINDS = {0xC3: "lossless JPEG", 0xC5: "hierarchical JPEG", 0xC6: "hierarchical JPEG", 0xC7: "lossless JPEG"}
_KINDS |= {kind + 8: words for kind, words in _KINDS.items()}
_END = b"\xff\xd9"
_FILLINGS = (b"\x5a\xa5\x3c\x96\x0f", b"\xe9\x31\xd4\x72\xb8", b"\x12\x48\x84\x21\x00")
_MOST_RESTARTS = 1 << 18
_MOST_ROWS_LOST = 18  # a row of blocks, and what smooth chroma takes from it


@dataclass
class Segments:
    """What stands before a JPEG's pixels."""

    exif: bytes = b""
    xmp: bytes = b""
    icc: bytes | None = None
    iptc: bytes | None = None
    comment: bytes | None = None
    dpi: tuple[float, float] | None = None
    bits: int = 8
    frame: int = 0xC0
    long_xmp: bool = False
    others: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _profile: dict[int, bytes] = field(default_factory=dict)


def scan(file: BinaryIO) -> Segments:
    """Read the segments up to the pixels.

    Raises:
        InputError: a kind of JPEG that no decoder at hand reads.
    """
    found = Segments()
    file.seek(2)
    photoshop, parts = b"", 0
    while (segment := _next(file)) is not None:
        marker, content = segment
        if marker in _FRAMES:
            found.frame, found.bits = marker, content[0] if content else 8
        elif marker == 0xE0 and content.startswith(b"JFIF\0") and len(content) >= 12:
            _read_density(found, content)
        elif marker == 0xE1:
            _read_app1(found, content)
        elif marker == 0xE2 and content.startswith(_ICC) and len(content) > 14:
            found._profile.setdefault(content[12], content[14:])
            parts = max(parts, content[13])
        elif marker == 0xE2 and content.startswith(b"urn:iso:std:iso:ts:21496"):
            found.others.append("gain map")
        elif marker == 0xEB and content.startswith(b"JP") and b"c2pa" in content:
            found.others.append("content credentials")
        elif marker == 0xED and content.startswith(_PHOTOSHOP):
            photoshop += content[len(_PHOTOSHOP) :]
        elif marker == 0xFE and content:
            found.comment = found.comment or content
    if len(found._profile) < parts:
        found.notes.append("its colour profile is incomplete and is not used")
    elif found._profile:
        found.icc = b"".join(found._profile[number] for number in sorted(found._profile))
    found.iptc = iptc_in(photoshop)
    if found.bits != 8:
        raise InputError(
            UNNAMED,
            f"is a JPEG of {found.bits} bits, which is not read; convert it to 8 bits, or to PNG or TIFF",
        )
    if found.frame in _KINDS:
        raise InputError(
            UNNAMED, f"is a {_KINDS[found.frame]}, which is not read; convert it to ordinary JPEG"
        )
    return found


def iptc_in(resources: bytes) -> bytes | None:
    """The IPTC record within Photoshop's image resources."""
    place = 0
    while resources[place : place + 4] in (b"8BIM", b"PHUT", b"AgHg", b"DCSR", b"MeSa"):
        kind = int.from_bytes(resources[place + 4 : place + 6], "big")
        name = resources[place + 6] + 1 if place + 6 < len(resources) else 1
        start = place + 6 + name + name % 2
        size = int.from_bytes(resources[start : start + 4], "big")
        content = resources[start + 4 : start + 4 + size]
        if kind == _IPTC and content:
            return content
        place = start + 4 + size + size % 2
    return None


def iptc_segment(iptc: bytes) -> bytes:
    """A whole segment that holds an IPTC record; empty where it is too long for one."""
    resource = b"8BIM\x04\x04\x00\x00" + len(iptc).to_bytes(4, "big") + iptc + b"\0" * (len(iptc) % 2)
    content = _PHOTOSHOP + resource
    if len(content) > 65_533:
        return b""
    return b"\xff\xed" + (len(content) + 2).to_bytes(2, "big") + content


def is_cut(content: bytes) -> bool:
    """Whether a JPEG lacks its end."""
    return not content.rstrip(b"\0").endswith(_END)


def mended(content: bytes) -> tuple[bytes, str]:
    """A JPEG that lacks no more than its last bytes, with an end put to it; and a note that says so.

    libjpeg fills what is missing. Different fillings tell which rows come from the file: those in which all
    agree.

    Raises:
        InputError: more than the last rows are missing.
    """
    content = content.rstrip(b"\xff")  # half of a marker
    complete, restarts = _scans(content)
    if not complete:
        raise InputError(UNNAMED, "damaged picture: it is cut off; get a whole copy")
    first = _pixels(content + _END)
    height = first.shape[0]
    differing = np.zeros(height, bool)
    for filling in _FILLINGS:
        other = filling * 4096
        if restarts:  # without their marks the decoder would skip all that follows, alike each time
            other = b"".join(filling + bytes([0xFF, 0xD0 + number % 8]) for number in range(restarts))
        differing |= (_pixels(content + other + _END) != first).reshape(height, -1).any(axis=1)
    lost = height - int(np.argmax(differing)) if differing.any() else 0
    if lost > min(max(_MOST_ROWS_LOST, height // 20), height // 4):
        raise InputError(
            UNNAMED,
            f"damaged picture: it is cut off, {lost} of {height} rows are missing; get a whole copy",
        )
    rows = f"the lowest {lost} rows may be wrong" if lost else "no pixel is missing"
    return content + _END, f"its last bytes are missing; {rows}"


def _pixels(content: bytes) -> Array:
    with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
        image.load()
        return np.asarray(image)


def _scans(content: bytes) -> tuple[bool, int]:
    """Whether the scans are complete, and how many restart marks they may have.

    Complete: those that the file begins bring every coefficient of every component to its last bit.
    """
    file = io.BytesIO(content)
    file.seek(2)
    components: list[int] = []
    done: dict[int, set[int]] = {}
    progressive, blocks, interval = False, 0, 0
    while (segment := _next(file, scans=True)) is not None:
        marker, body = segment
        if marker in _FRAMES and len(body) > 6:
            components = [body[6 + 3 * index] for index in range((len(body) - 6) // 3)]
            progressive = marker in (0xC2, 0xCA)
            blocks = -(-int.from_bytes(body[1:3], "big") // 8) * -(-int.from_bytes(body[3:5], "big") // 8)
        elif marker == 0xDD:
            interval = int.from_bytes(body[:2], "big")
        elif marker == 0xDA and body:
            count = body[0]
            if len(body) < 4 + 2 * count:
                break
            first, last, bits = body[1 + 2 * count], body[2 + 2 * count], body[3 + 2 * count] & 15
            for index in range(count):
                if not progressive:
                    done.setdefault(body[1 + 2 * index], set()).update(range(64))
                elif bits == 0:
                    done.setdefault(body[1 + 2 * index], set()).update(range(first, last + 1))
    complete = bool(components) and all(len(done.get(component, ())) == 64 for component in components)
    return complete, min(_MOST_RESTARTS, blocks // interval + 8) if interval else 0


def _read_density(found: Segments, content: bytes) -> None:
    across, down = (float(int.from_bytes(content[place : place + 2], "big")) for place in (8, 10))
    scale = {1: 1.0, 2: 2.54}.get(content[7])  # an inch, a centimetre
    found.dpi = None if scale is None else (across * scale, down * scale)


def _read_app1(found: Segments, content: bytes) -> None:
    if content.startswith(_EXIF):
        rest = content[len(_EXIF) :]
        if not found.exif or rest[:4] not in (b"II*\0", b"MM\0*"):  # EXIF over several segments
            found.exif += rest
    elif content.startswith(_XMP):
        found.xmp = found.xmp or content[len(_XMP) :]
    elif content.startswith(_LONG_XMP):
        found.long_xmp = True


def _next(file: BinaryIO, scans: bool = False) -> tuple[int, bytes] | None:
    """The next segment's marker and content; None at the first scan, at the end, or where none follows.

    With `scans`, scans are segments too, and the search goes on behind their pixels.
    """
    while True:
        byte = file.read(1)
        if not byte:
            return None
        if byte != b"\xff":
            continue
        while byte == b"\xff":
            byte = file.read(1)
        marker = byte[0] if byte else 0xD9
        if marker in (0, 0x01) or 0xD0 <= marker <= 0xD8:
            continue
        if marker == 0xD9 or (marker == 0xDA and not scans):
            return None
        size = int.from_bytes(file.read(2), "big")
        return marker, file.read(max(0, size - 2))

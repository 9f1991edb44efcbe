"""The boxes of HEIC and AVIF: how deep the photo is, and which colours its numbers stand for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_LARGEST_META = 1 << 26
_AUXILIARY = (
    (b"hdrgainmap", "gain map"),
    (b"urn:com:photo:aux:gainmap", "gain map"),
    (b"aux:depth", "depth map"),
    (b"auxid:2", "depth map"),
    (b"aux:disparity", "depth map"),
)


@dataclass
class Boxes:
    """What the boxes say of the photo.

    Attributes:
        bits: of one sample.
        cicp: numbers of primaries and transfer (ITU-T H.273), or None.
        animated: whether it is a sequence and not a still picture.
        others: what else the file holds, e.g. ``gain map``.
    """

    bits: int = 8
    cicp: tuple[int, int] | None = None
    animated: bool = False
    others: tuple[str, ...] = ()


def scan(file: BinaryIO) -> Boxes:
    """Read the boxes; what is damaged is left to the decoder to refuse."""
    file.seek(0)
    found = Boxes()
    try:
        for kind, start, end in top_boxes(file):
            file.seek(start)
            if kind == b"ftyp":
                found.animated = file.read(4) in (b"avis", b"hevc", b"hevx", b"msf1")
            elif kind == b"meta" and end - start <= _LARGEST_META:
                _read_meta(found, file.read(end - start))
                break
    except (IndexError, ValueError):
        return found
    return found


def _read_meta(found: Boxes, meta: bytes) -> None:
    boxes = {kind: meta[start:end] for kind, start, end in inner_boxes(meta, 4)}
    primary = _number(boxes.get(b"pitm", b"")[4:8])
    if boxes.get(b"pitm", b"\0")[:1] == b"\0":
        primary = _number(boxes.get(b"pitm", b"")[4:6])
    inner = {kind: boxes[b"iprp"][start:end] for kind, start, end in inner_boxes(boxes.get(b"iprp", b""), 0)}
    shared = inner.get(b"ipco", b"")
    properties = [(kind, shared[start:end]) for kind, start, end in inner_boxes(shared, 0)]
    own = _associated(inner.get(b"ipma", b"")).get(primary, [])
    chosen = [properties[index - 1] for index in own if 0 < index <= len(properties)]
    for kind, content in [*chosen, *([] if own else properties)]:
        if kind == b"colr" and content[:4] == b"nclx" and found.cicp is None:
            found.cicp = (_number(content[4:6]), _number(content[6:8]))
        elif kind == b"pixi" and len(content) > 5:
            found.bits = max(found.bits, *content[5:])
        elif kind == b"av1C" and len(content) > 2:
            found.bits = max(found.bits, (12 if content[2] & 0x20 else 10) if content[2] & 0x40 else 8)
        elif kind == b"hvcC" and len(content) > 17:
            found.bits = max(found.bits, (content[17] & 7) + 8)
    kinds = [content for kind, content in properties if kind == b"auxC"]
    others = [words for mark, words in _AUXILIARY if any(mark in content for content in kinds)]
    if b"tmap" in boxes.get(b"iinf", b""):
        others.append("gain map")
    found.others = tuple(dict.fromkeys(others))


def _associated(ipma: bytes) -> dict[int, list[int]]:
    """Numbers of the properties of each item."""
    if len(ipma) < 8:
        return {}
    version, wide = ipma[0], ipma[3] & 1
    place, found = 8, {}
    for _ in range(_number(ipma[4:8])):
        size = 2 if version < 1 else 4
        item = _number(ipma[place : place + size])
        count = ipma[place + size]
        place += size + 1
        step = 2 if wide else 1
        numbers = [_number(ipma[at : at + step]) for at in range(place, place + count * step, step)]
        found[item] = [number & (0x7FFF if wide else 0x7F) for number in numbers]
        place += count * step
    return found


def top_boxes(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Kind of each box of a file, and where its content begins and ends."""
    start = 0
    while len(head := _at(file, start, 16)) >= 8:
        size, skip = _number(head[:4]), 8
        if size == 1:
            size, skip = _number(head[8:16]), 16
        if size < skip:
            return
        yield head[4:8], start + skip, start + size
        start += size


def _at(file: BinaryIO, place: int, size: int) -> bytes:
    file.seek(place)
    return file.read(size)


def inner_boxes(content: bytes, start: int) -> Iterator[tuple[bytes, int, int]]:
    """As `top_boxes`, of the boxes that lie within some bytes from `start` on."""
    while start + 8 <= len(content):
        size = _number(content[start : start + 4])
        if size < 8:
            return
        yield content[start + 4 : start + 8], start + 8, min(start + size, len(content))
        start += size


def _number(content: bytes) -> int:
    return int.from_bytes(content, "big")

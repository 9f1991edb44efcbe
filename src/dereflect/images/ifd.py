"""The directories of a TIFF structure, which are also those of EXIF: both byte orders, classic and big."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED = 1, 2, 3, 4, 5, 7
_CODES = {
    **{BYTE: "B", ASCII: "B", SHORT: "H", LONG: "L", UNDEFINED: "B", 6: "b", 8: "h", 9: "l"},
    **{RATIONAL: "LL", 10: "ll", 11: "f", 12: "d", 13: "L", 16: "Q", 17: "q", 18: "Q"},
}
_MOST_ENTRIES = 4096
_MOST_DIRECTORIES = 4096
_MOST_VALUES = 1 << 24


@dataclass(frozen=True)
class Entry:
    """One entry of a directory.

    Attributes:
        tag: its number.
        kind: the type of its values, as TIFF numbers them.
        count: how many there are.
        place: where the first lies, counted from the start of the structure.
    """

    tag: int
    kind: int
    count: int
    place: int


@dataclass
class Directory:
    """Entries in the order of the file (a tag may stand there twice), and where the next directory lies.

    `whole` is false where the directory claims more entries than there are.
    """

    start: int
    entries: list[Entry] = field(default_factory=list)
    following: int = 0
    pointer: int | None = None
    whole: bool = True

    def get(self, tag: int) -> Entry | None:
        """The first entry of a tag."""
        return next((entry for entry in self.entries if entry.tag == tag), None)


class Structure:
    """Reads directories and values.

    Args:
        source: a file that can be searched, or the bytes of one.

    Raises:
        ValueError: it does not begin as a TIFF structure does.
    """

    def __init__(self, source: BinaryIO | bytes) -> None:
        self.file: BinaryIO = io.BytesIO(source) if isinstance(source, bytes) else source
        self.file.seek(0, io.SEEK_END)
        self.size = self.file.tell()
        head = self._bytes(0, 16)
        self.order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
        if not self.order or len(head) < 8:
            raise ValueError("is no TIFF structure")
        (magic,) = struct.unpack(self.order + "H", head[2:4])
        self.big = magic == 43
        self.pointer = 8 if self.big else 4
        """Where the address of the first directory stands."""
        if magic not in (42, 43) or len(head) < self.pointer + self.width:
            raise ValueError("is no TIFF structure")
        self.first = self._number(head[self.pointer : self.pointer + self.width])

    @property
    def width(self) -> int:
        """Bytes of an address."""
        return 8 if self.big else 4

    def directory(self, start: int) -> Directory:
        """The directory at an address; entries that are cut off or of no known type are left out."""
        found = Directory(start)
        width = 8 if self.big else 2
        head = self._bytes(start, width)
        if start < 8 or len(head) < width:
            return Directory(start, whole=False)
        count, size = self._number(head), 20 if self.big else 12
        body = self._bytes(start + width, min(count, _MOST_ENTRIES) * size)
        for index in range(min(count, len(body) // size)):
            entry = self._entry(body[index * size : index * size + size], start + width + index * size)
            if entry is None:
                found.whole = False
            else:
                found.entries.append(entry)
        end = start + width + count * size
        tail = self._bytes(end, self.width) if count <= _MOST_ENTRIES else b""
        if len(tail) == self.width:
            found.following, found.pointer = self._number(tail), end
        if count * size > len(body):
            found.whole = False
        return found

    def chain(self) -> Iterator[Directory]:
        """The directories that follow one another from the first on; a circle ends where it closes."""
        seen: set[int] = set()
        address = self.first
        while address and address not in seen and len(seen) < _MOST_DIRECTORIES:
            seen.add(address)
            directory = self.directory(address)
            yield directory
            address = directory.following

    def values(self, entry: Entry | None) -> tuple[float, ...]:
        """An entry's numbers (a rational as its quotient); none where they lie outside the file."""
        if entry is None or entry.count > _MOST_VALUES:
            return ()
        code = _CODES[entry.kind]
        size = struct.calcsize(self.order + code)
        content = self._bytes(entry.place, size * entry.count)
        if len(content) < size * entry.count:
            return ()
        found = struct.iter_unpack(self.order + code, content)
        if len(code) == 2:
            return tuple(a / b if b else 0.0 for a, b in found)
        return tuple(value for (value,) in found)

    def whole_numbers(self, entry: Entry | None) -> tuple[int, ...]:
        """As `values`, rounded down; text counts by its digits."""
        found = self.values(entry)
        if entry is not None and entry.kind == ASCII:
            digits = bytes(int(value) for value in found).split(b"\0")[0].strip()
            return (int(digits),) if digits.isdigit() else ()
        return tuple(int(value) for value in found if abs(value) < 2**63)

    def content(self, entry: Entry | None) -> bytes:
        """The bytes of an entry's values."""
        return b"" if entry is None else self._bytes(entry.place, self.bytes_of(entry))

    def bytes_of(self, entry: Entry) -> int:
        """How many bytes an entry's values take."""
        return entry.count * struct.calcsize(self.order + _CODES[entry.kind])

    def packed(self, kind: int, value: int) -> bytes:
        """A small whole number as a value of some type."""
        if kind == ASCII:
            return str(value).encode("ascii")
        code = _CODES[kind]
        return struct.pack(self.order + code, *((value, 1) if len(code) == 2 else (value,)))

    def _entry(self, row: bytes, place: int) -> Entry | None:
        tag, kind = struct.unpack(self.order + "HH", row[:4])
        if kind not in _CODES:
            return None
        count = self._number(row[4 : 4 + self.width])
        inline = place + 4 + self.width
        size = count * struct.calcsize(self.order + _CODES[kind])
        if size <= self.width:
            return Entry(tag, kind, count, inline)
        address = self._number(row[4 + self.width :])
        if address + size > self.size:
            return None
        return Entry(tag, kind, count, address)

    def _number(self, content: bytes) -> int:
        return int.from_bytes(content, "little" if self.order == "<" else "big")

    def _bytes(self, start: int, size: int) -> bytes:
        if start < 0 or start >= self.size or size <= 0:
            return b""
        self.file.seek(start)
        return self.file.read(min(size, self.size - start))

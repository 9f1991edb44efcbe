"""The chunks of a PNG: what they say of its colours and its maker."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass, field
from typing import BinaryIO

from dereflect.errors import UNNAMED, InputError

_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_LARGEST_TEXT = 1 << 26  # bytes of a profile or text when unpacked; more is an error or an attack
_LARGEST_CHUNK = 1 << 28  # of those that are read here
_READ = (*_TEXTS, b"IHDR", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"tRNS", b"eXIf", b"tIME", b"pHYs")
XMP_KEY = "XML:com.adobe.xmp"


@dataclass
class Chunks:
    """What stands in a PNG beside its pixels.

    Attributes:
        bits: of one sample, or of an index into the palette.
        kind: PNG's colour type: 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGBA.
        transparent: the grey or colour that is transparent, in the file's own levels; None for none.
        cicp: numbers of primaries, transfer, matrix and range; None where there is no such chunk.
        gamma: exponent of encoding, e.g. 0.45455; None where not given.
        chromaticities: x and y of white, red, green, blue; None where not given.
        srgb: whether the file says that it is sRGB.
        texts: keyword and text, in the order of the file.
    """

    bits: int = 8
    kind: int = 2
    icc: bytes | None = None
    exif: bytes = b""
    xmp: bytes = b""
    iptc: bytes | None = None
    time: bytes | None = None
    dpi: tuple[float, float] | None = None
    transparent: tuple[int, ...] | None = None
    cicp: tuple[int, int, int, int] | None = None
    gamma: float | None = None
    chromaticities: tuple[float, ...] | None = None
    srgb: bool = False
    credentials: bool = False
    texts: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: list[tuple[int, int]] = field(default_factory=list)


def scan(file: BinaryIO) -> Chunks:
    """Read the chunks.

    Raises:
        InputError: a chunk that the picture needs is damaged.
    """
    found = Chunks()
    file.seek(0, io.SEEK_END)
    end, start = file.tell(), 8
    while start + 12 <= end:
        file.seek(start)
        head = file.read(8)
        size, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind in (b"IDAT", b"PLTE", b"IEND", b"fdAT", b"fcTL") or size > _LARGEST_CHUNK:
            start += size + 12  # pixels are checked by their decoder
            continue
        content, check = file.read(size), file.read(4)
        ancillary = bool(kind[:1].islower())
        if len(check) == 4 and zlib.crc32(kind + content).to_bytes(4, "big") != check:
            name = kind.decode("latin-1")
            if not ancillary:
                raise _wrong_sum(name)
            found.notes.append(f"its chunk {name} is damaged (wrong checksum) and is not used")
            found.left_out.append((start, start + size + 12))
        elif kind in _READ:
            _read(found, kind, content)
            if kind in (*_TEXTS, b"iCCP"):
                found.left_out.append((start, start + size + 12))
        elif kind == b"caBX":
            found.credentials = True
        start += size + 12
    return found


def check_pixels(file: BinaryIO) -> None:
    """Check the sums of the chunks that hold the pixels, which Pillow does not.

    Raises:
        InputError: one is wrong.
    """
    file.seek(8)
    while len(head := file.read(8)) == 8:
        size, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind != b"IDAT":
            file.seek(size + 4, io.SEEK_CUR)
            continue
        content, check = file.read(size), file.read(4)
        if len(check) == 4 and zlib.crc32(kind + content).to_bytes(4, "big") != check:
            raise _wrong_sum("IDAT")


def _wrong_sum(name: str) -> InputError:
    return InputError(
        UNNAMED, f"damaged PNG: the checksum of its chunk {name} is wrong; get an undamaged copy"
    )


def without(file: BinaryIO, spans: list[tuple[int, int]]) -> BinaryIO:
    """The file without some spans of bytes; itself where there are none."""
    file.seek(0)
    if not spans:
        return file
    content = file.read()
    parts, place = [], 0
    for start, end in spans:
        parts.append(content[place:start])
        place = end
    return io.BytesIO(b"".join([*parts, content[place:]]))


def _read(found: Chunks, kind: bytes, content: bytes) -> None:
    if kind == b"IHDR" and len(content) >= 10:
        found.bits, found.kind = content[8], content[9]
    elif kind == b"iCCP":
        found.icc = _unpacked(content.partition(b"\0")[2][1:])
    elif kind == b"sRGB":
        found.srgb = True
    elif kind == b"gAMA" and len(content) == 4:
        found.gamma = int.from_bytes(content, "big") / 1e5
    elif kind == b"cHRM" and len(content) == 32:
        found.chromaticities = tuple(value / 1e5 for value in struct.unpack(">8L", content))
    elif kind == b"cICP" and len(content) == 4:
        found.cicp = (content[0], content[1], content[2], content[3])
    elif kind == b"tRNS" and found.kind in (0, 2):
        found.transparent = struct.unpack(f">{len(content) // 2}H", content[: len(content) // 2 * 2])
    elif kind == b"eXIf":
        found.exif = content.removeprefix(b"Exif\0\0")
    elif kind == b"tIME" and len(content) == 7:
        found.time = content
    elif kind == b"pHYs" and len(content) == 9 and content[8] == 1:
        across, down = struct.unpack(">LL", content[:8])
        found.dpi = (across * 0.0254, down * 0.0254)
    elif kind in _TEXTS:
        _read_text(found, kind, content)


def _read_text(found: Chunks, kind: bytes, content: bytes) -> None:
    key, _, rest = content.partition(b"\0")
    keyword = key.decode("latin-1").strip()
    text: bytes | None = rest
    encoding = "latin-1"
    if kind == b"zTXt":
        text = _unpacked(rest[1:])
    elif kind == b"iTXt":
        encoding = "utf-8"
        text = rest[2:].split(b"\0", 2)[-1]  # behind language and translated keyword
        text = _unpacked(text) if rest[:1] == b"\1" else text
    if text is None:
        found.notes.append(f"its text {keyword} is damaged and is not kept")
    elif keyword == XMP_KEY:
        found.xmp = text
    elif keyword.startswith("Raw profile type "):
        _read_raw_profile(found, keyword.rpartition(" ")[2].lower(), text)
    else:
        found.texts.append((keyword, text.decode(encoding, "replace")))


def _read_raw_profile(found: Chunks, name: str, text: bytes) -> None:
    """Metadata as hexadecimal text, as ImageMagick and ExifTool write it."""
    from dereflect.images.jpeg import iptc_in

    lines = text.strip().split(b"\n", 2)
    try:
        content = bytes.fromhex(lines[2].decode("ascii")) if len(lines) == 3 else b""
    except (ValueError, UnicodeDecodeError):
        found.notes.append(f"its {name} profile is damaged and is not kept")
        return
    if name in ("exif", "app1") and content.startswith((b"Exif\0\0", b"II*\0", b"MM\0*")):
        found.exif = found.exif or content.removeprefix(b"Exif\0\0")
    elif name == "xmp" or (name == "app1" and content.startswith(b"http://ns.adobe.com/xap/1.0/\0")):
        found.xmp = found.xmp or content.removeprefix(b"http://ns.adobe.com/xap/1.0/\0")
    elif name in ("iptc", "8bim"):
        found.iptc = found.iptc or iptc_in(content) or (content if content[:1] == b"\x1c" else None)
    elif name in ("icc", "icm"):
        found.icc = found.icc or content


def _unpacked(content: bytes) -> bytes | None:
    unpacker = zlib.decompressobj()
    try:
        found = unpacker.decompress(content, _LARGEST_TEXT)
    except zlib.error:
        return None
    return found if not unpacker.unconsumed_tail else None

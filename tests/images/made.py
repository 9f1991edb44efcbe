"""Files as other programs write them, made byte by byte: what no writer at hand would make."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 36, 48


def photo(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """(H, W, 3) floats in [0, 1] that lie on 8-bit levels, smooth, from black to white."""
    small = np.random.default_rng(3).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    levels = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)) / 255
    return np.rint((levels - levels.min()) / (levels.max() - levels.min()) * 255) / 255


def grey(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return photo(height, width)[..., 1]


def at_depth(values: np.ndarray, bits: int) -> np.ndarray:
    return np.rint(values * ((1 << bits) - 1)).astype(np.uint32)


def saved(values: np.ndarray, name: str, **options) -> bytes:
    """By Pillow, in 8 bit."""
    buffer = io.BytesIO()
    Image.fromarray(np.rint(values * 255).astype(np.uint8)).save(buffer, format=name, **options)
    return buffer.getvalue()


def linear(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


# ---- TIFF

KINDS = {1: "B", 2: "s", 3: "H", 4: "L", 5: "LL", 6: "b", 8: "h", 9: "l"}


def directory(
    entries: list[tuple[int, int, list[int] | bytes]], order: str, start: int, following: int = 0
) -> bytes:
    """A TIFF directory that lies at `start`, its long values behind it."""
    entries = sorted(entries, key=lambda entry: entry[0])
    rows, behind = b"", b""
    place = start + 2 + 12 * len(entries) + 4
    for tag, kind, values in entries:
        if isinstance(values, bytes):
            content, count = values, len(values)
        else:
            count = len(values)
            pairs = [(value, 1) if kind == 5 else (value,) for value in values]
            content = b"".join(struct.pack(order + KINDS[kind], *pair) for pair in pairs)
        if len(content) <= 4:
            rows += struct.pack(order + "HHL", tag, kind, count) + content.ljust(4, b"\0")
        else:
            rows += struct.pack(order + "HHLL", tag, kind, count, place + len(behind))
            behind += content + b"\0" * (len(content) % 2)
    return struct.pack(order + "H", len(entries)) + rows + struct.pack(order + "L", following) + behind


def header(order: str, first: int = 8) -> bytes:
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "L", first)


def packed(levels: np.ndarray, bits: int, order: str = "<") -> bytes:
    rows = levels.reshape(len(levels), -1)
    if bits in (8, 16, 32):
        return rows.astype(f"{order}u{bits // 8}").tobytes()
    digits = (rows[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(digits.astype(np.uint8).reshape(len(rows), -1), axis=1).tobytes()


def tiff(
    levels: np.ndarray,
    bits: int,
    order: str = "<",
    photometric: int | None = None,
    extra: list[tuple[int, int, list[int] | bytes]] | None = None,
    tile: int | None = None,
    deflate: bool = False,
) -> bytes:
    """An uncompressed or deflated TIFF of one strip, or of square tiles.

    Args:
        levels: (H, W) or (H, W, C) whole numbers of `bits` bits.
        extra: further entries: tag, type, values.
    """
    height, width = levels.shape[:2]
    channels = 1 if levels.ndim == 2 else levels.shape[2]
    side = tile or max(height, width)
    blocks = [levels]
    if tile:
        wide = -(-width // side) * side, -(-height // side) * side
        full = np.zeros((wide[1], wide[0], *levels.shape[2:]), levels.dtype)
        full[:height, :width] = levels
        corners = [(y, x) for y in range(0, wide[1], side) for x in range(0, wide[0], side)]
        blocks = [full[y : y + side, x : x + side] for y, x in corners]
    parts = [packed(block, bits, order) for block in blocks]
    parts = [zlib.compress(part) for part in parts] if deflate else parts
    entries: list[tuple[int, int, list[int] | bytes]] = [
        *(
            (256, 3, [width]),
            (257, 3, [height]),
            (258, 3, [bits] * channels),
            (259, 3, [8 if deflate else 1]),
        ),
        *(
            (262, 3, [photometric if photometric is not None else 2 if channels > 2 else 1]),
            (277, 3, [channels]),
        ),
        *(extra or []),
    ]
    if tile:
        entries += [(322, 3, [side]), (323, 3, [side])]
    else:
        entries += [(278, 3, [height])]
    where, sizes = (324, 325) if tile else (273, 279)
    entries += [(sizes, 4, [len(part) for part in parts])]
    start = 8 + len(directory([*entries, (where, 4, [0] * len(parts))], order, 8))
    offsets = [start + sum(map(len, parts[:index])) for index in range(len(parts))]
    return header(order) + directory([*entries, (where, 4, offsets)], order, 8) + b"".join(parts)


def with_first_page(content: bytes, thumbnail: bytes) -> bytes:
    """A little-endian TIFF of two pages: `thumbnail` first, then `content`, both made by `tiff`."""
    moved = _moved(content, len(thumbnail))
    count = struct.unpack_from("<H", thumbnail, 8)[0]
    joined = bytearray(thumbnail + moved)
    struct.pack_into("<L", joined, 10 + 12 * count, len(thumbnail) + 8)
    return bytes(joined)


def _moved(content: bytes, by: int) -> bytes:
    """A TIFF whose addresses are those that it has behind `by` other bytes."""
    moved = bytearray(content)
    (count,) = struct.unpack_from("<H", content, 8)
    for index in range(count):
        place = 10 + 12 * index
        tag, kind, number, value = struct.unpack_from("<HHLL", content, place)
        size = struct.calcsize("<" + KINDS[kind]) * number
        if size > 4:
            struct.pack_into("<L", moved, place + 8, value + by)
        if tag in (273, 324) and size <= 4:
            struct.pack_into("<L", moved, place + 8, value + by)
        elif tag in (273, 324):
            for inner in range(number):
                (address,) = struct.unpack_from("<L", content, value + 4 * inner)
                struct.pack_into("<L", moved, value + 4 * inner, address + by)
    return bytes(moved)


# ---- PNG


def chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">L", len(content)) + kind + content + struct.pack(">L", check)


def png(levels: np.ndarray, bits: int, *chunks: bytes) -> bytes:
    """A PNG of whole numbers of `bits` bits, (H, W) or (H, W, 2 to 4), with more chunks before its pixels."""
    height, width = levels.shape[:2]
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[1 if levels.ndim == 2 else levels.shape[2]]
    rows = packed(levels, bits, ">")
    step = len(rows) // height
    lines = b"".join(b"\0" + rows[place : place + step] for place in range(0, len(rows), step))
    head = chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, bits, kind, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(lines))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + pixels + chunk(b"IEND", b"")


# ---- JPEG


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg(values: np.ndarray, *segments: bytes, **options) -> bytes:
    """A JPEG with more segments behind its first."""
    content = saved(values, "JPEG", **({"quality": 95, "subsampling": 0} | options))
    end = 4 + int.from_bytes(content[4:6], "big")
    return content[:end] + b"".join(segments) + content[end:]


def exif_segment(block: bytes) -> bytes:
    return segment(0xE1, b"Exif\0\0" + block)


def xmp_segment(packet: bytes) -> bytes:
    return segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet)


def iptc(*records: tuple[int, str]) -> bytes:
    return b"".join(
        b"\x1c\x02" + bytes([number]) + struct.pack(">H", len(text.encode())) + text.encode()
        for number, text in records
    )


def iptc_segment(record: bytes) -> bytes:
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">L", len(record)) + record + b"\0" * (len(record) % 2)
    return segment(0xED, b"Photoshop 3.0\0" + resource)


def exif(
    order: str, entries: list[tuple[int, int, list[int] | bytes]], thumbnail_orientation: int = 0
) -> bytes:
    """An EXIF block of a few entries, and of a second directory with an orientation of its own."""
    first = directory(entries, order, 8)
    if not thumbnail_orientation:
        return header(order) + first
    second = 8 + len(first)
    first = directory(entries, order, 8, second)
    return header(order) + first + directory([(0x0112, 3, [thumbnail_orientation])], order, second)


def xmp(attributes: str = "", elements: str = "") -> bytes:
    names = {
        "tiff": "http://ns.adobe.com/tiff/1.0/",
        "exif": "http://ns.adobe.com/exif/1.0/",
        "xmp": "http://ns.adobe.com/xap/1.0/",
        "hdrgm": "http://ns.adobe.com/hdr-gain-map/1.0/",
        "GCamera": "http://ns.google.com/photos/1.0/camera/",
        "Container": "http://ns.google.com/photos/1.0/container/",
        "Item": "http://ns.google.com/photos/1.0/container/item/",
        "dc": "http://purl.org/dc/elements/1.1/",
    }
    spaces = " ".join(f'xmlns:{prefix}="{name}"' for prefix, name in names.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {spaces} {attributes}>{elements}</rdf:Description></rdf:RDF>'
        "</x:xmpmeta>"
        '<?xpacket end="w"?>'
    ).encode()

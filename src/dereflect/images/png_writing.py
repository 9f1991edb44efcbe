"""PNG with 16 bits a sample, which Pillow cannot write in colour."""

from __future__ import annotations

import struct
import textwrap
import zlib

import numpy as np

from dereflect.images.picture import Metadata, Picture

_ROWS = 64  # filtered and compressed at a time, to hold no second copy of the picture
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # channels to PNG's numbers


def encode_deep_png(picture: Picture) -> bytes:
    """A PNG file of a uint16 picture, with its metadata. Rows are filtered by their upper neighbour."""
    values = picture.to_numpy()
    values = values[..., None] if values.ndim == 2 else values
    height, width, channels = values.shape
    known = picture.metadata
    chunks = [_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0))]
    chunks += metadata_chunks(known)
    compressor = zlib.compressobj(level=4)
    above = np.zeros(width * channels * 2, np.uint8)
    for start in range(0, height, _ROWS):
        rows = values[start : start + _ROWS].astype(">u2").reshape(-1, width * channels)
        rows_bytes = np.ascontiguousarray(rows).view(np.uint8)
        filtered = np.empty((rows_bytes.shape[0], rows_bytes.shape[1] + 1), np.uint8)
        filtered[:, 0] = 2  # the filter "up": difference to the row above, modulo 256
        filtered[0, 1:] = rows_bytes[0] - above
        filtered[1:, 1:] = rows_bytes[1:] - rows_bytes[:-1]
        above = rows_bytes[-1]
        if part := compressor.compress(filtered.tobytes()):
            chunks.append(_chunk(b"IDAT", part))
    chunks += [_chunk(b"IDAT", compressor.flush()), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def metadata_chunks(known: Metadata) -> list[bytes]:
    """Whole chunks of all metadata; IPTC as ImageMagick and ExifTool write it, having no chunk of its own."""
    chunks = []
    if known.icc:
        chunks.append(_chunk(b"iCCP", b"ICC Profile\x00\x00" + zlib.compress(known.icc)))
    if known.dpi:
        across, down = (round(value / 0.0254) for value in known.dpi)
        chunks.append(_chunk(b"pHYs", struct.pack(">IIB", across, down, 1)))
    if known.exif:
        chunks.append(_chunk(b"eXIf", known.exif))
    if known.time:
        chunks.append(_chunk(b"tIME", known.time))
    if known.xmp:
        chunks.append(_chunk(b"iTXt", b"XML:com.adobe.xmp\x00\x00\x00\x00\x00" + known.xmp))
    if known.iptc:
        lines = textwrap.wrap(known.iptc.hex(), 72)
        text = "\n".join(["", "iptc", f"{len(known.iptc):8}", *lines, ""])
        chunks.append(_chunk(b"zTXt", b"Raw profile type iptc\x00\x00" + zlib.compress(text.encode("ascii"))))
    texts = list(known.texts)
    if known.comment and "Comment" not in dict(texts):
        texts.append(("Comment", known.comment.decode("utf-8", "replace")))
    return chunks + [_text_chunk(keyword, text) for keyword, text in texts]


def with_metadata(content: bytes, known: Metadata) -> bytes:
    """A PNG file with metadata put behind its first chunk."""
    start = 8 + 25  # signature and IHDR
    return b"".join([content[:start], *metadata_chunks(known), content[start:]])


def _text_chunk(keyword: str, text: str) -> bytes:
    key = keyword.encode("latin-1", "replace")[:79] or b"Comment"
    try:
        return _chunk(b"tEXt", key + b"\0" + text.encode("latin-1"))
    except UnicodeEncodeError:
        return _chunk(b"iTXt", key + b"\0\0\0\0\0" + text.encode("utf-8"))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

"""DNGs as cameras write them, made byte by byte: the mosaic of a sensor, or linear light in three colours."""

import struct
from pathlib import Path

import numpy as np
from PIL import Image

TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
"""From linear sRGB, which is what the camera of these files sees, to XYZ under D65."""
CODES = {1: "B", 2: "s", 3: "H", 4: "L", 5: "LL", 7: "B", 10: "ll"}
Entries = dict[int, tuple[int, object]]
"""Type and values by tag; rationals as floats."""


def photo(height: int = 96, width: int = 128) -> np.ndarray:
    """(H, W, 3) floats in [0, 1], smooth, from black to white."""
    small = np.random.default_rng(3).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    levels = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)) / 255
    return (levels - levels.min()) / (levels.max() - levels.min())


def dng(
    values: np.ndarray | None = None,
    mosaic: bool = True,
    orientation: int = 1,
    neutral: tuple[float, float, float] | None = (0.5, 1.0, 0.7),
    xmp: bytes = b"",
    cut: int = 0,
) -> bytes:
    """A DNG of 16 bits.

    Args:
        values: (H, W, 3) sRGB in [0, 1], how it is to come out.
        mosaic: one colour a pixel, red at the top left; all three otherwise.
        orientation: as EXIF numbers it.
        neutral: what the sensor sees of white; None leaves the file without a white balance.
        xmp: a packet.
        cut: bytes that are missing at the end.
    """
    values = photo() if values is None else values
    light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    seen = np.rint(light * np.array(neutral or (1.0, 1.0, 1.0)) * 65535).astype("<u2")
    if mosaic:
        one = seen[..., 1].copy()
        one[::2, ::2], one[1::2, 1::2] = seen[::2, ::2, 0], seen[1::2, 1::2, 2]
        seen = one
    pixels = seen.tobytes()
    channels = 1 if mosaic else 3
    exif: Entries = {
        33434: (5, [1 / 250]),
        33437: (5, [2.8]),
        34855: (3, [200]),
        36864: (7, b"0230"),
        36867: (2, b"2026:11:26 10:20:30\0"),
        37386: (5, [35.0]),
        37500: (7, b"maker notes that point to places in the raw file" * 9),
    }
    gps: Entries = {0: (1, b"\2\3\0\0"), 1: (2, b"N\0"), 2: (5, [52.0, 31.0, 12.0])}
    first: Entries = {
        254: (4, [0]),
        256: (3, [values.shape[1]]),
        257: (3, [values.shape[0]]),
        258: (3, [16] * channels),
        259: (3, [1]),
        262: (3, [32803 if mosaic else 34892]),
        271: (2, b"Own\0"),
        272: (2, b"Own Camera\0"),
        274: (3, [orientation]),
        277: (3, [channels]),
        278: (3, [values.shape[0]]),
        279: (4, [len(pixels)]),
        305: (2, b"Firmware 1\0"),
        306: (2, b"2026:11:26 10:20:30\0"),
        315: (2, b"J. Doe\0"),
        50706: (1, b"\1\4\0\0"),
        50707: (1, b"\1\1\0\0"),
        50708: (2, b"Own Camera\0"),
        50717: (4, [65535] * channels),
        50721: (10, np.linalg.inv(TO_XYZ).ravel().tolist()),
        50778: (3, [21]),  # D65
    }
    if mosaic:
        first |= {33421: (3, [2, 2]), 33422: (1, b"\0\1\1\2")}
    if neutral is not None:
        first[50728] = (5, list(neutral))
    if xmp:
        first[700] = (1, xmp)
    content = _tiff(first, exif, gps, pixels)
    return content[: len(content) - cut]


def write_dng(path: Path, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(dng(**options))
    return path


def _tiff(first: Entries, exif: Entries, gps: Entries, pixels: bytes) -> bytes:
    first = first | {273: (4, [0]), 34665: (4, [0]), 34853: (4, [0])}
    places = [8]
    for entries in (first, exif, gps):
        places.append(places[-1] + len(directory(entries, 0)))
    first |= {273: (4, [places[3]]), 34665: (4, [places[1]]), 34853: (4, [places[2]])}
    parts = [directory(entries, places[index]) for index, entries in enumerate((first, exif, gps))]
    return b"II*\0" + struct.pack("<L", 8) + b"".join(parts) + pixels


def directory(entries: Entries, start: int) -> bytes:
    """A TIFF directory that lies at `start`, its long values behind it."""
    rows, behind = b"", b""
    place = start + 2 + 12 * len(entries) + 4
    for tag, (kind, values) in sorted(entries.items()):
        content = values if isinstance(values, bytes) else b"".join(_packed(kind, each) for each in values)
        count = len(content) // struct.calcsize("<" + CODES[kind])
        if len(content) <= 4:
            rows += struct.pack("<HHL", tag, kind, count) + content.ljust(4, b"\0")
        else:
            rows += struct.pack("<HHLL", tag, kind, count, place + len(behind))
            behind += content + b"\0" * (len(content) % 2)
    return struct.pack("<H", len(entries)) + rows + bytes(4) + behind


def _packed(kind: int, value: float) -> bytes:
    pair = (round(value * 10_000), 10_000) if len(CODES[kind]) == 2 else (int(value),)
    return struct.pack("<" + CODES[kind], *pair)

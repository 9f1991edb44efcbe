"""A decoded picture and what must survive with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]


@dataclass(frozen=True)
class Metadata:
    """What a file says about its picture, as raw bytes. Orientation is marked as applied already.

    Attributes:
        exif: a TIFF structure, without the leading ``Exif`` marker of JPEG.
        icc: the colour profile; one made of tags where the file tells its colours by tags.
        xmp: the packet.
        dpi: resolution across and down, in dots an inch.
        iptc: an IPTC-IIM record.
        comment: of a JPEG or GIF.
        texts: keyword and text of a PNG.
        time: PNG's time of the last change, seven bytes.
    """

    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    iptc: bytes | None = None
    comment: bytes | None = None
    texts: tuple[tuple[str, str], ...] = ()
    time: bytes | None = None


@dataclass(frozen=True)
class Picture:
    """Pixels the right way up, in the file's own colour space and depth, with metadata.

    Attributes:
        pixels: (H, W, 3), or (H, W) for a grey picture; uint8, uint16, or float32 in [0, 1].
        alpha: (H, W) of the same dtype, or None.
        metadata: EXIF, profile, XMP, resolution.
        format: Pillow's name of the format it came in, e.g. ``"JPEG"``; ``""`` for arrays.
        suffix: the file name's extension, e.g. ``".JPG"``; ``""`` where there was no file.
        lossless: whether the format it came in keeps every pixel.
        notes: what a person should know of how it was read, one sentence each.
    """

    pixels: Array
    alpha: Array | None = None
    metadata: Metadata = Metadata()
    format: str = ""
    suffix: str = ""
    lossless: bool = True
    notes: tuple[str, ...] = ()

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns of pixels."""
        return int(self.pixels.shape[1])

    @property
    def grey(self) -> bool:
        """Whether the picture has one channel, alpha apart."""
        return self.pixels.ndim == 2

    @property
    def scale(self) -> float:
        """The number that stands for white: 255, 65535, or 1.0 for floats."""
        return white(self.pixels.dtype)

    def with_pixels(self, pixels: Array) -> Picture:
        """The same picture with other pixels (of any dtype: alpha follows)."""
        alpha = None if self.alpha is None else convert_depth(self.alpha, pixels.dtype)
        return replace(self, pixels=pixels, alpha=alpha)

    def to_numpy(self) -> Array:
        """(H, W), (H, W, 2), (H, W, 3) or (H, W, 4) with alpha last, in the picture's own depth."""
        if self.alpha is None:
            return self.pixels
        return np.dstack([self.pixels, self.alpha])

    def to_pil(self) -> Image.Image:
        """A Pillow image: L, LA, RGB or RGBA in 8 bit, or I;16 for 16-bit grey without alpha.

        Pillow has no 16-bit colour: such a picture comes out rounded to 8 bit here (`to_numpy` keeps all).
        """
        if self.pixels.dtype == np.uint16 and self.grey and self.alpha is None:
            image = Image.fromarray(self.pixels)
        else:
            image = Image.fromarray(convert_depth(self.to_numpy(), np.dtype(np.uint8)))
        known = self.metadata
        for key, value in (
            ("exif", known.exif),
            ("icc_profile", known.icc),
            ("xmp", known.xmp),
            ("dpi", known.dpi),
        ):
            if value:
                image.info[key] = value
        return image


def white(dtype: np.dtype[Any]) -> float:
    """The value of white in a dtype: 255, 65535, or 1.0 for floats."""
    return float(np.iinfo(dtype).max) if np.issubdtype(dtype, np.integer) else 1.0


def convert_depth(values: Array, dtype: np.dtype[Any]) -> Array:
    """Convert between uint8, uint16 and float32 in [0, 1], rounding to the nearest level."""
    if values.dtype == dtype:
        return values
    if dtype == np.float32:
        return values.astype(np.float32) / np.float32(white(values.dtype))
    if values.dtype == np.uint16 and dtype == np.uint8:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if values.dtype == np.uint8 and dtype == np.uint16:
        return values.astype(np.uint16) * np.uint16(257)
    return np.rint(np.clip(values, 0.0, 1.0) * white(dtype)).astype(dtype)

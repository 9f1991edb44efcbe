"""Colour profiles: networks see sRGB, people keep their own space."""

from __future__ import annotations

import io
import struct
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from dereflect.errors import UNNAMED, InputError, first_line
from dereflect.images.picture import Array

SAME_COLOURS = 2
"""Levels of 255 by which a profile may differ from sRGB and still count as sRGB."""


class ColourSpace:
    """Conversion between the RGB space of an ICC profile and sRGB, for uint8 and uint16 pixels.

    Args:
        profile: the profile's bytes.

    Raises:
        InputError: the profile is damaged.
    """

    def __init__(self, profile: bytes) -> None:
        self.profile = profile
        self._to_srgb = _transform(profile, None)
        self._from_srgb = _transform(None, profile)

    def to_srgb(self, pixels: Array) -> Array:
        """Convert (H, W, 3) pixels of this space to sRGB, in their own depth."""
        return to_srgb(pixels, self.profile)

    def from_srgb(self, pixels: Array) -> Array:
        """Convert (H, W, 3) sRGB pixels to this space, in their own depth."""
        if pixels.dtype == np.uint16:
            from dereflect.images.deep import convert_deep

            return convert_deep(pixels, self.profile, to_srgb=False)
        return _apply(self._from_srgb, pixels)


class GreySpace:
    """Conversion between the grey of an ICC profile and that of sRGB, for uint8 and uint16 pixels.

    Args:
        profile: the profile's bytes.

    Raises:
        InputError: the profile is damaged, or holds no curve.
    """

    def __init__(self, profile: bytes) -> None:
        self.profile = profile
        self._linear = _grey_curve(profile)

    def to_srgb(self, pixels: Array) -> Array:
        """Convert (H, W) pixels of this space to the grey of sRGB, in their own depth."""
        return self._table(pixels.dtype)[pixels]

    def from_srgb(self, pixels: Array) -> Array:
        """Convert (H, W) pixels of the grey of sRGB to this space, in their own depth."""
        white = np.iinfo(pixels.dtype).max
        levels = np.arange(white + 1) / white
        encoded = np.maximum.accumulate(_encoded(self._linear(levels)))
        back = np.interp(levels, encoded, levels)
        return np.rint(back * white).astype(pixels.dtype)[pixels]

    def _table(self, dtype: np.dtype[Any]) -> Array:
        white = np.iinfo(dtype).max
        return np.rint(_encoded(self._linear(np.arange(white + 1) / white)) * white).astype(dtype)


Space = ColourSpace | GreySpace


def colour_space(profile: bytes | None, grey: bool = False) -> Space | None:
    """The conversion that a profile asks for; None where there is none, or where it is sRGB to the eye.

    Args:
        profile: of the picture.
        grey: whether the picture is grey; a profile of the other kind says nothing about it.
    """
    if not profile or header(profile)[1] != (b"GRAY" if grey else b"RGB "):
        return None
    return _known_grey(profile) if grey else _known_space(profile)


@lru_cache(maxsize=8)
def _known_space(profile: bytes) -> ColourSpace | None:
    space = ColourSpace(profile)
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    lattice = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(9, 81, 3)
    difference = np.abs(space.to_srgb(lattice).astype(int) - lattice.astype(int))
    return space if difference.max() > SAME_COLOURS else None


@lru_cache(maxsize=8)
def _known_grey(profile: bytes) -> GreySpace | None:
    space = GreySpace(profile)
    levels = np.arange(256, dtype=np.uint8)
    return space if np.abs(space.to_srgb(levels).astype(int) - levels).max() > SAME_COLOURS else None


def to_srgb(pixels: Array, profile: bytes) -> Array:
    """Convert (H, W, 3) uint8 or uint16 pixels to sRGB by a profile that need not convert back."""
    if pixels.dtype == np.uint16:
        from dereflect.images.deep import convert_deep

        return convert_deep(pixels, profile, to_srgb=True)
    return _apply(_transform(profile, None), pixels)


def grey_to_srgb(pixels: Array, profile: bytes) -> Array:
    """As `to_srgb` for (H, W, 1) pixels of a grey profile without a curve."""
    every = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    shown = ImageCms.applyTransform(every, _transform(profile, None, mode="L"))
    assert shown is not None  # as below
    levels = np.asarray(shown)[0].mean(axis=1)
    white = np.iinfo(pixels.dtype).max
    table = np.interp(np.linspace(0, 255, white + 1), np.arange(256), levels) / 255
    return np.rint(table * white).astype(pixels.dtype)[pixels]


def is_one_way(profile: bytes, grey: bool = False) -> bool:
    """Whether a profile of RGB, or of grey, converts to other spaces, but not back from them."""
    if header(profile)[1] != (b"GRAY" if grey else b"RGB "):
        return False
    found = tags(profile)
    forwards = any(key in found for key in (b"A2B0", b"A2B1", b"A2B2", b"D2B0", b"D2B1"))
    backwards = any(key in found for key in (b"B2A0", b"B2A1", b"B2A2", b"rTRC", b"kTRC"))
    return forwards and not backwards


def tags(profile: bytes) -> dict[bytes, bytes]:
    """What an ICC profile holds, by its four-letter names; empty where its table is damaged."""
    if len(profile) < 132:
        return {}
    (count,) = struct.unpack(">L", profile[128:132])
    found = {}
    for index in range(min(count, 200)):
        row = profile[132 + 12 * index : 144 + 12 * index]
        if len(row) < 12:
            return {}
        place, size = struct.unpack(">LL", row[4:])
        found[row[:4]] = profile[place : place + size]
    return found


def cmyk_to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert a CMYK image by its own profile."""
    converted = ImageCms.applyTransform(image, _transform(profile, None, mode="CMYK"))
    if converted is None:
        raise InputError(UNNAMED, "its colour profile cannot be used")
    return converted


def is_cmyk(profile: bytes | None) -> bool:
    """Whether an ICC profile describes a CMYK space."""
    return bool(profile) and header(profile or b"")[1] == b"CMYK"


def header(profile: bytes) -> tuple[bytes, bytes]:
    """A profile's class and its colour space."""
    return profile[12:16], profile[16:20]


@lru_cache(maxsize=16)
def _transform(source: bytes | None, target: bytes | None, mode: str = "RGB") -> Any:
    try:
        return ImageCms.buildTransform(
            _profile(source),
            _profile(target),
            mode,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )
    except (ImageCms.PyCMSError, OSError) as error:
        raise _damaged(first_line(error)) from error


def _damaged(why: str) -> InputError:
    return InputError(UNNAMED, f"its colour profile is damaged ({why}); remove or replace it")


def _profile(data: bytes | None) -> Any:
    return ImageCms.createProfile("sRGB") if data is None else ImageCms.ImageCmsProfile(io.BytesIO(data))


def _apply(transform: Any, pixels: Array) -> Array:
    converted = ImageCms.applyTransform(Image.fromarray(pixels), transform)
    assert converted is not None  # only in-place conversion returns None
    return np.asarray(converted)


def _encoded(linear: Array) -> Array:
    """Linear light in [0, 1] with the curve of sRGB."""
    linear = np.clip(linear, 0, 1)
    return np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-12) ** (1 / 2.4) - 0.055
    )


def _grey_curve(profile: bytes) -> Any:
    """From encoded grey in [0, 1] to linear light."""
    content = tags(profile).get(b"kTRC", b"")
    if content[:4] == b"para" and len(content) >= 12:
        return _parametric(content)
    if content[:4] != b"curv" or len(content) < 12:
        raise _damaged("it has no grey curve")
    (count,) = struct.unpack(">L", content[8:12])
    if count == 0:
        return lambda x: x
    table = np.frombuffer(content[12 : 12 + 2 * count], ">u2").astype(np.float64)
    if len(table) < count:
        raise _damaged("its grey curve is cut off")
    if count == 1:
        return lambda x: x ** (table[0] / 256)
    return lambda x: np.interp(x, np.linspace(0, 1, count), table / 65535)


def _parametric(content: bytes) -> Any:
    """ICC's parametric curves, of one to seven numbers (ICC.1:2022, 10.18)."""
    (kind,) = struct.unpack(">H", content[8:10])
    names = {0: "g", 1: "gab", 2: "gabc", 3: "gabcd", 4: "gabcdef"}.get(kind, "")
    numbers = np.frombuffer(content[12 : 12 + 4 * len(names)], ">i4") / 65536
    if not names or len(numbers) < len(names):
        raise _damaged("its grey curve is of no known kind")
    n = {**dict.fromkeys("abcdef", 0.0), "a": 1.0, **dict(zip(names, numbers, strict=True))}
    if kind in (1, 2):
        bottom = -n["b"] / n["a"] if n["a"] else 0.0
        above, below = n["c"], n["c"]
        n |= {"c": 0.0, "d": bottom, "e": above, "f": below}

    def curve(x: Array) -> Array:
        power = np.maximum(n["a"] * x + n["b"], 0) ** n["g"] + n["e"]
        return np.where(x >= n["d"], power, n["c"] * x + n["f"])

    return curve

"""Colour profiles: networks see sRGB, people keep their own space."""

from __future__ import annotations

import io
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
        if pixels.dtype == np.uint16:
            from dereflect.images.deep import convert_deep

            return convert_deep(pixels, self.profile, to_srgb=True)
        return _apply(self._to_srgb, pixels)

    def from_srgb(self, pixels: Array) -> Array:
        """Convert (H, W, 3) sRGB pixels to this space, in their own depth."""
        if pixels.dtype == np.uint16:
            from dereflect.images.deep import convert_deep

            return convert_deep(pixels, self.profile, to_srgb=False)
        return _apply(self._from_srgb, pixels)


def colour_space(profile: bytes | None) -> ColourSpace | None:
    """The conversion that a profile asks for; None where there is none, or where it is sRGB to the eye."""
    if not profile or _header(profile)[1] != b"RGB ":
        return None
    return _known_space(profile)


@lru_cache(maxsize=8)
def _known_space(profile: bytes) -> ColourSpace | None:
    space = ColourSpace(profile)
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    lattice = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(9, 81, 3)
    difference = np.abs(space.to_srgb(lattice).astype(int) - lattice.astype(int))
    return space if difference.max() > SAME_COLOURS else None


def cmyk_to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert a CMYK image by its own profile."""
    converted = ImageCms.applyTransform(image, _transform(profile, None, mode="CMYK"))
    if converted is None:
        raise InputError(UNNAMED, "its colour profile cannot be used")
    return converted


def is_cmyk(profile: bytes | None) -> bool:
    """Whether an ICC profile describes a CMYK space."""
    return bool(profile) and _header(profile or b"")[1] == b"CMYK"


def _header(profile: bytes) -> tuple[bytes, bytes]:
    return profile[12:16], profile[16:20]  # the profile's class and its colour space


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
        raise InputError(
            UNNAMED, f"its colour profile is damaged ({first_line(error)}); remove or replace it"
        ) from error


def _profile(data: bytes | None) -> Any:
    return ImageCms.createProfile("sRGB") if data is None else ImageCms.ImageCmsProfile(io.BytesIO(data))


def _apply(transform: Any, pixels: Array) -> Array:
    converted = ImageCms.applyTransform(Image.fromarray(pixels), transform)
    assert converted is not None  # only in-place conversion returns None
    return np.asarray(converted)

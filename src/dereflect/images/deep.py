"""16-bit colour, which Pillow reads as 8 bit without a word: read and converted by libvips."""

from __future__ import annotations

from typing import Any

import numpy as np

from dereflect.errors import UNNAMED, InputError, MissingExtra, first_line
from dereflect.images.picture import Array


def read_deep(data: bytes, purpose: str = "16-bit colour") -> Array:
    """Decode a file of 8 or 16 bits to (H, W, C) uint8 or uint16, as it lies there (orientation not applied).

    Args:
        data: the file.
        purpose: what libvips is needed for, to name it where it is missing.

    Raises:
        MissingExtra: pyvips is not installed.
        InputError: the file is damaged.
    """
    vips = _import_vips(purpose)
    try:
        image = vips.Image.new_from_buffer(data, "", fail_on="error", unlimited=True)
        values: Array = image.numpy()
    except vips.Error as error:
        try:
            image = vips.Image.new_from_buffer(data, "", fail_on="error")
            values = image.numpy()
        except vips.Error:
            raise InputError(UNNAMED, f"damaged picture: cannot be decoded ({first_line(error)})") from error
    if values.dtype not in (np.uint8, np.uint16):
        raise InputError(
            UNNAMED, f"holds samples of an unusual kind ({image.format}); convert it to 8 or 16 bit"
        )
    return values if values.ndim == 3 else values[..., None]


def convert_deep(values: Array, profile: bytes, to_srgb: bool) -> Array:
    """Convert (H, W, 3) uint16 between sRGB and the space of an ICC profile, in 16 bit throughout."""
    import tempfile
    from pathlib import Path

    vips = _import_vips("16-bit colour")
    # libvips takes a profile other than the embedded one only as a file.
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "profile.icc"
        file.write_bytes(profile)
        source, target = (str(file), "srgb") if to_srgb else ("srgb", str(file))
        image = vips.Image.new_from_array(values, interpretation="rgb16")
        try:
            return np.asarray(image.icc_transform(target, input_profile=source, depth=16).numpy())
        except vips.Error as error:
            raise InputError(UNNAMED, f"its colour profile cannot be used ({first_line(error)})") from error


def _import_vips(purpose: str) -> Any:
    try:
        import pyvips
    except (ImportError, OSError) as error:  # OSError: the package is there, the library it binds is not
        raise MissingExtra("pyvips", "deep", purpose, UNNAMED) from error
    return pyvips

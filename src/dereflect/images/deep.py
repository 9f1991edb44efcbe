"""16-bit colour: Pillow reads it as 8 bit without a word, so it is noticed here and read by libvips."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from dereflect.errors import UNNAMED, InputError, MissingExtra, first_line
from dereflect.images.picture import Array

BITS_PER_SAMPLE, SAMPLE_FORMAT = 258, 339


def sample_bits(image: Image.Image, head: bytes) -> int:
    """Bits of one sample of a PNG or TIFF that Pillow has opened (not loaded); 8 for other formats.

    Args:
        image: the opened image.
        head: the file's first 26 bytes or more.

    Raises:
        InputError: a TIFF of floats or of signed numbers, which have no agreed white.
    """
    if image.format == "PNG":
        return head[24]
    if image.format == "TIFF":
        tags: Any = image.tag_v2  # type: ignore[attr-defined]
        if set(tags.get(SAMPLE_FORMAT, (1,))) != {1}:
            raise InputError(
                UNNAMED, "holds floating-point or signed samples; convert it to 8 or 16 bit unsigned"
            )
        return max(tags.get(BITS_PER_SAMPLE, (1,)))
    return 8


def read_deep(data: bytes) -> Array:
    """Decode a 16-bit PNG or TIFF to (H, W, C) uint16, as it lies in the file (orientation not applied).

    Raises:
        MissingExtra: pyvips is not installed.
        InputError: the file is damaged.
    """
    vips = _import_vips()
    try:
        image = vips.Image.new_from_buffer(data, "", fail_on="error")
        values: Array = image.numpy()
    except vips.Error as error:
        raise InputError(UNNAMED, f"cannot be decoded ({first_line(error)})") from error
    if values.dtype != np.uint16:
        raise InputError(
            UNNAMED, f"holds samples of an unusual kind ({image.format}); convert it to 8 or 16 bit"
        )
    return values if values.ndim == 3 else values[..., None]


def convert_deep(values: Array, profile: bytes, to_srgb: bool) -> Array:
    """Convert (H, W, 3) uint16 between sRGB and the space of an ICC profile, in 16 bit throughout."""
    import tempfile
    from pathlib import Path

    vips = _import_vips()
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


def _import_vips() -> Any:
    try:
        import pyvips
    except (ImportError, OSError) as error:  # OSError: the package is there, the library it binds is not
        raise MissingExtra("pyvips", "deep", "16-bit colour", UNNAMED) from error
    return pyvips

"""Pictures in any shape that a program may hold them."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

import numpy as np
from PIL import Image

from dereflect.errors import UNNAMED, InputError, first_line
from dereflect.images import metadata
from dereflect.images.modes import in_plain_mode
from dereflect.images.picture import Array, Picture
from dereflect.images.profiles import Tagged
from dereflect.images.reading import as_picture, in_known_colours, read
from dereflect.images.survey import Facts, of_pillow, settle
from dereflect.limits import DEFAULT_MAX_PIXELS

_TAKEN = "give a path, bytes, a binary file, a Pillow image, a numpy array or a torch tensor"


def read_any(source: Any, max_pixels: int = DEFAULT_MAX_PIXELS, raw_space: str = "srgb") -> Picture:
    """Take a picture in any shape that a program may hold it.

    Args:
        source: a path, a file's bytes, a binary file (read from its beginning where it can be searched, and
            left open), a Pillow image, a numpy array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8,
            uint16 or floats in [0, 1], or a torch tensor (C, H, W) or (1, C, H, W) of the same kinds.
        max_pixels: refuse larger pictures.
        raw_space: of a camera's raw file, as for `read`.

    Raises:
        InputError, MissingExtra: none of these, or as `read`.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, (bytes, bytearray, memoryview)):
        return read(bytes(source), max_pixels, raw_space=raw_space)
    if isinstance(source, (str, os.PathLike)):
        return read(source, max_pixels, raw_space=raw_space)
    if isinstance(source, Image.Image):
        return _from_pillow(source)
    if isinstance(source, np.ndarray):
        return from_array(source)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(source, torch.Tensor):
        return _from_tensor(source)
    if callable(getattr(source, "read", None)):
        return read(_content(source), max_pixels, raw_space=raw_space)
    raise InputError(type(source).__name__, f"is not a picture; {_TAKEN}")


def from_array(values: Array) -> Picture:
    """A picture from (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) values; see `read_any`."""
    if (
        values.ndim not in (2, 3)
        or 0 in values.shape
        or (values.ndim == 3 and values.shape[2] not in (1, 3, 4))
    ):
        raise InputError(f"array of shape {values.shape}", "give (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)")
    if np.issubdtype(values.dtype, np.floating):
        values = values.astype(np.float32)
        if not np.isfinite(values).all() or values.min() < -0.01 or values.max() > 1.01:
            raise InputError("array of floats", "values must be finite and lie in [0, 1]")
        values = values.clip(0.0, 1.0)
    elif values.dtype.newbyteorder("=") not in (np.uint8, np.uint16):
        raise InputError(f"array of {values.dtype}", "give uint8, uint16, or floats in [0, 1]")
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    alpha = None
    if values.ndim == 3 and values.shape[2] == 4:
        values, alpha = values[..., :3], np.ascontiguousarray(values[..., 3])
    elif values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    return Picture(np.ascontiguousarray(values), alpha)


def _content(source: Any) -> bytes:
    """All of a file object, which stays open."""
    try:
        if callable(getattr(source, "seekable", None)) and source.seekable():
            source.seek(0)
        content = source.read()
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise InputError(type(source).__name__, f"cannot be read ({first_line(error)})") from error
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise InputError(
            type(source).__name__, "gives no bytes when read; open the file in binary mode ('rb')"
        )
    return bytes(content)


def _from_pillow(image: Image.Image) -> Picture:
    facts = Facts(image.format or "", io.BytesIO())
    try:
        facts.metadata = of_pillow(image)
        known, orientation, notes = settle(facts, image)
        image.load()
    except OSError as error:
        raise InputError(UNNAMED, f"damaged ({first_line(error)})") from error
    _set_colours(facts, image.info)
    if image.format == "TIFF":  # Pillow has turned its pixels by now
        orientation = image.getexif().get(metadata.ORIENTATION, 1)
    plain, known = in_plain_mode(image, known, notes)
    values = np.asarray(plain)
    values = values.astype(np.uint16) if values.dtype not in (np.uint8, np.uint16) else values
    values = metadata.apply_orientation(values if values.ndim == 3 else values[..., None], orientation)
    values, known = in_known_colours(values, facts, known, notes)
    return as_picture(values, known, "JPEG" if facts.format == "MPO" else facts.format, "", True, notes)


def _set_colours(facts: Facts, info: dict[Any, Any]) -> None:
    """Colours that Pillow has read as numbers: of PNG, and of HEIC."""
    if "srgb" not in info and ("gamma" in info or "chromaticity" in info):
        facts.gamma = (info.get("gamma"), info.get("chromaticity"))
    if isinstance(numbers := info.get("nclx_profile"), dict):
        facts.tagged = Tagged(int(numbers["color_primaries"]), int(numbers["transfer_characteristics"]))


def _from_tensor(source: Any) -> Picture:
    tensor = source.detach().cpu()
    if tensor.ndim == 4 and tensor.shape[0] == 1:
        tensor = tensor[0]
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3, 4):
        raise InputError(
            f"tensor of shape {tuple(source.shape)}", "give one picture, (C, H, W) with C 1, 3 or 4"
        )
    if tensor.dtype.is_floating_point:
        tensor = tensor.float()
    return from_array(np.moveaxis(tensor.numpy(), 0, -1))

"""From a file, bytes, Pillow image, array or tensor to a `Picture`; sizes are checked before decoding."""

from __future__ import annotations

import contextlib
import io
import os
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from dereflect.errors import UNNAMED, DereflectError, InputError, MissingExtra, Remedy, first_line
from dereflect.images import colour, deep, metadata
from dereflect.images.picture import Array, Metadata, Picture
from dereflect.limits import DEFAULT_MAX_PIXELS

PICTURE_SUFFIXES = frozenset(
    (
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".tif",
        ".tiff",
        ".webp",
        ".bmp",
        ".gif",
        ".heic",
        ".heif",
        ".avif",
    )
)
_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "AVIF")
_LOSSY_FORMATS = ("JPEG", "MPO", "HEIF", "AVIF")
_STILL_FORMATS = ("MPO", "HEIF", "AVIF")  # may hold further pictures; the first is the photo
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_pillow_limit = threading.Lock()


def read(
    source: str | os.PathLike[str] | bytes,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    short_side: int | None = None,
) -> Picture:
    """Read a picture file, or the bytes of one.

    Args:
        source: a path, or a file's content.
        max_pixels: refuse larger pictures, before decoding.
        short_side: the shorter side that will do: a JPEG larger than that may come at a half, a quarter or an
            eighth of its size, which is decoded in less time.

    Raises:
        InputError: not there, not a picture, damaged, too large, or of a kind that has to be converted first.
        MissingExtra: HEIC or 16-bit colour without the package that reads it.
    """
    name = UNNAMED if isinstance(source, bytes) else os.fspath(source)
    with _opened(source, max_pixels) as (image, file):
        if short_side:
            image.draft(image.mode, (short_side, short_side))
        try:
            return _decode(image, file, name)
        except DereflectError as error:
            raise error.about(name) from error
        except Exception as error:  # decoders raise whatever they like on damaged files
            raise InputError(name, f"damaged picture ({first_line(error)})") from error


def probe(
    source: str | os.PathLike[str] | bytes, max_pixels: int = DEFAULT_MAX_PIXELS
) -> tuple[str, int, int]:
    """Format, width and height from a picture's header alone (as stored: orientation not applied).

    Raises:
        InputError, MissingExtra: as `read`.
    """
    with _opened(source, max_pixels) as (image, _):
        return _format(image), image.width, image.height


def upright_size(
    source: str | os.PathLike[str] | bytes, max_pixels: int = DEFAULT_MAX_PIXELS
) -> tuple[int, int]:
    """Width and height as the picture is shown (orientation applied), from its header alone.

    Raises:
        InputError, MissingExtra: as `read`.
    """
    with _opened(source, max_pixels) as (image, _):
        turned = image.getexif().get(metadata.ORIENTATION, 1) >= 5
        return (image.height, image.width) if turned else (image.width, image.height)


def read_any(source: Any, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Take a picture in any shape that a program may hold it.

    Args:
        source: a path, a file's bytes, a Pillow image, a numpy array (H, W), (H, W, 1), (H, W, 3) or (H, W,
            4) of uint8, uint16 or floats in [0, 1], or a torch tensor (C, H, W) or (1, C, H, W) of the same
            kinds.
        max_pixels: refuse larger pictures.

    Raises:
        InputError: none of these, or as `read`.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, (bytes, bytearray, memoryview)):
        return read(bytes(source), max_pixels)
    if isinstance(source, (str, os.PathLike)):
        return read(source, max_pixels)
    if isinstance(source, Image.Image):
        try:
            source.load()
            return _from_pillow(source)
        except OSError as error:
            raise InputError(UNNAMED, f"damaged ({first_line(error)})") from error
    if isinstance(source, np.ndarray):
        return from_array(source)
    if hasattr(source, "detach"):
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
    raise InputError(
        type(source).__name__, "is not a picture; give a path, bytes, Pillow image, array or tensor"
    )


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
    elif values.dtype not in (np.uint8, np.uint16):
        raise InputError(f"array of {values.dtype}", "give uint8, uint16, or floats in [0, 1]")
    alpha = None
    if values.ndim == 3 and values.shape[2] == 4:
        values, alpha = values[..., :3], np.ascontiguousarray(values[..., 3])
    elif values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    return Picture(np.ascontiguousarray(values), alpha)


@contextlib.contextmanager
def _opened(
    source: str | os.PathLike[str] | bytes, limit: int
) -> Iterator[tuple[ImageFile.ImageFile, BinaryIO]]:
    name = UNNAMED if isinstance(source, bytes) else os.fspath(source)
    with contextlib.ExitStack() as stack:
        file: BinaryIO
        if isinstance(source, bytes):
            file = io.BytesIO(source)
        else:
            if os.path.isdir(name):
                raise InputError(name, "is a folder, not a picture")
            try:
                file = stack.enter_context(open(name, "rb"))
            except (OSError, ValueError) as error:
                raise InputError(name, first_line(error)) from error
        try:
            head = file.read(32)
            if not head:
                raise InputError(name, "is empty")
            image = stack.enter_context(_open_image(file, head, name))
        except (UnidentifiedImageError, SyntaxError) as error:
            raise InputError(name, "is not a picture that can be read, or is damaged") from error
        except DereflectError:
            raise
        except Exception as error:
            raise InputError(name, f"cannot be read ({first_line(error)})") from error
        millions = image.width * image.height / 1e6
        if millions * 1e6 > limit:
            raise InputError(
                name,
                f"{image.width} x {image.height} is {millions:.0f} megapixels, over the limit of "
                f"{limit / 1e6:.0f}",
                remedy=Remedy("raise it with {}", "max_pixels"),
            )
        yield image, file


def _open_image(file: BinaryIO, head: bytes, name: str) -> ImageFile.ImageFile:
    formats: tuple[str, ...] = _FORMATS
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS and b"avif" not in head:
        try:
            import pillow_heif
        except ImportError as error:
            raise MissingExtra("pillow-heif", "heif", "HEIC", name) from error
        pillow_heif.register_heif_opener()
        formats = ("HEIF",)
    Image.init()  # a list of formats makes Pillow look only at readers that are imported already
    formats = tuple(name for name in formats if name in Image.OPEN)
    file.seek(0)
    # Pillow has a limit of its own, lower than ours, in a module-wide variable; ours is checked by the
    # caller.
    with _pillow_limit, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=formats)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _decode(image: ImageFile.ImageFile, file: BinaryIO, name: str) -> Picture:
    frames = getattr(image, "n_frames", 1)
    notes: list[str] = []
    if frames > 1 and image.format == "TIFF":
        notes.append(f"has {frames} pages; the first is used")
    elif frames > 1 and image.format not in _STILL_FORMATS:
        raise InputError(
            UNNAMED, f"is animated ({frames} frames); save the frame that you want as a still picture"
        )
    if image.info.get("bit_depth", 8) > 8:
        notes.append(f"its {image.info['bit_depth']} bits a sample are read as 8")
    file.seek(0)
    bits = deep.sample_bits(image, file.read(32))
    values = orientation = None
    if bits > 8 and image.mode not in ("I;16", "I;16B", "I;16L", "I"):
        if bits != 16 or image.mode not in ("RGB", "RGBA", "RGBX", "L", "LA"):
            raise InputError(
                UNNAMED, f"is {image.mode} with {bits} bits a sample; convert it to RGB with 8 or 16"
            )
        file.seek(0)
        values = deep.read_deep(file.read())
        if image.format == "TIFF":  # Pillow will turn its own pixels and forget that it did; libvips does not
            orientation = image.getexif().get(metadata.ORIENTATION, 1)
    lossless = image.format not in _LOSSY_FORMATS and not (image.format == "WEBP" and _is_lossy_webp(file))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # e.g. of odd EXIF; what cannot be read is an error, the rest is kept
        image.load()
    picture = _from_pillow(image, values, orientation)
    return replace(picture, suffix=Path(name).suffix, lossless=lossless, notes=(*notes, *picture.notes))


def _from_pillow(image: Image.Image, values: Array | None = None, orientation: int | None = None) -> Picture:
    """A `Picture` of a loaded Pillow image.

    Args:
        image: the image.
        values: (H, W, C) uint16 that stand for its pixels, where Pillow has lost bits.
        orientation: how those lie, where Pillow no longer knows.
    """
    known, found = metadata.collect(image)
    notes: list[str] = []
    if values is None:
        image, known = _in_plain_mode(image, known, notes)
        values = np.asarray(image)
    if values.dtype not in (np.uint8, np.uint16):
        values = values.clip(0, 65535).astype(np.uint16)  # 16-bit grey that Pillow widened to 32
    values = metadata.apply_orientation(values, found if orientation is None else orientation)
    if values.ndim == 2:
        values = values[..., None]
    colours = 3 if values.shape[2] >= 3 else 1
    alpha = np.ascontiguousarray(values[..., colours]) if values.shape[2] > colours else None
    pixels = np.ascontiguousarray(values[..., :3] if colours == 3 else values[..., 0])
    return Picture(pixels, alpha, known, _format(image), notes=tuple(notes))


def _in_plain_mode(image: Image.Image, known: Metadata, notes: list[str]) -> tuple[Image.Image, Metadata]:
    """Bring any Pillow mode to L, LA, RGB, RGBA or 16-bit grey, or refuse it."""
    found = image.format
    if image.mode in ("L", "RGB", "P", "PA") and "transparency" in image.info:
        image = image.convert("LA" if image.mode == "L" else "RGBA")
    elif image.mode in ("P", "YCbCr", "RGBX"):
        image = image.convert("RGB")
    elif image.mode in ("PA", "RGBa"):
        image = image.convert("RGBA")
    elif image.mode == "La":
        image = image.convert("LA")
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode == "CMYK":
        if not colour.is_cmyk(known.icc):
            raise InputError(UNNAMED, "is CMYK without a colour profile; convert it to RGB")
        image = colour.cmyk_to_srgb(image, known.icc or b"")
        known = replace(known, icc=None)
        notes.append("CMYK was converted to sRGB by its profile")
    elif image.mode not in ("L", "LA", "RGB", "RGBA", "I;16", "I;16B", "I;16L", "I"):
        raise InputError(UNNAMED, f"has the colour mode {image.mode}; convert it to RGB")
    image.format = found
    return image, known


def _format(image: Image.Image) -> str:
    found = image.format or ""
    return "JPEG" if found == "MPO" else found


def _is_lossy_webp(file: BinaryIO) -> bool:
    file.seek(12)
    while len(chunk := file.read(8)) == 8:
        if chunk[:4] in (b"VP8 ", b"VP8L"):
            return chunk[:4] == b"VP8 "
        size = int.from_bytes(chunk[4:], "little")
        file.seek(size + size % 2, os.SEEK_CUR)
    return True

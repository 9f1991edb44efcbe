"""The pixels of a TIFF that Pillow would get wrong: more than 8 bits, unusual channels, a negative."""

from __future__ import annotations

import zlib
from typing import BinaryIO

import numpy as np
from PIL import Image

from dereflect.errors import UNNAMED, InputError
from dereflect.images import deep
from dereflect.images.depth import to_full_range
from dereflect.images.picture import Array
from dereflect.images.tiff_pages import CMYK, MIN_IS_BLACK, MIN_IS_WHITE, PALETTE, PLANAR, RGB, Page

_FILL_ORDER, _PREDICTOR = 266, 317
_STRIPS, _ROWS, _STRIP_BYTES = 273, 278, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 322, 323, 324, 325
_DEFLATE = (8, 32946)


def decode(page: Page, view: BinaryIO, image: Image.Image | None) -> tuple[Array, list[str]]:
    """Decode pixels that are deeper than 8 bits, or that Pillow does not open.

    Args:
        page: what the file says.
        view: the file, its first page the photo.
        image: the photo as Pillow opened it, not loaded; None where it cannot.

    Returns:
        (H, W, 1 to 4) uint8 or uint16, grey or RGB with alpha last, black 0, as they lie in the file
        (orientation not applied); and notes.

    Raises:
        InputError: damaged, or of a kind that has to be converted first.
        MissingExtra: a kind that needs pyvips.
    """
    if page.bits > 8 and page.photometric not in (MIN_IS_WHITE, MIN_IS_BLACK, RGB):
        kind = {CMYK: "CMYK", PALETTE: "a palette"}.get(page.photometric, f"colour model {page.photometric}")
        raise InputError(UNNAMED, f"is {kind} with {page.bits} bits a sample; convert it to RGB with 8 or 16")
    inverted = page.photometric == MIN_IS_WHITE
    if 8 < page.bits < 16:
        values = _unpacked(page, view)
    elif _is_plain_grey(page, image):
        assert image is not None
        image.load()
        values = np.asarray(image)
        values = values.astype(np.uint16)[..., None]
    else:
        view.seek(0)
        values = deep.read_deep(view.read(), "16-bit colour" if page.colours > 1 else "such a grey TIFF")
        if inverted and values.dtype == np.uint16:
            values = (
                values.copy()
            )  # libvips has inverted by the white of 16 bits; that of the true depth counts
            values[..., 0] = 65535 - values[..., 0]
    if values.dtype != np.uint16:
        return _channels(values, page), []
    values, note = to_full_range(values, page.true_bits, page.bits, inverted)
    return _channels(values, page), [note] if note else []


def _is_plain_grey(page: Page, image: Image.Image | None) -> bool:
    return image is not None and page.samples == 1 and page.bits == 16 and image.mode.startswith("I;16")


def _channels(values: Array, page: Page) -> Array:
    """Colour, and alpha only where the file says that a channel is alpha."""
    if values.shape[2] < page.samples:
        raise InputError(
            UNNAMED, "damaged picture: it has fewer channels than it says; get an undamaged copy"
        )
    colour = values[..., : page.colours]
    return colour if page.alpha is None else np.dstack([colour, values[..., page.alpha]])


def _unpacked(page: Page, view: BinaryIO) -> Array:
    """Samples of 9 to 15 bits, packed without gaps in a row: strips or tiles, plain or deflated."""
    simple = page.compression in (1, *_DEFLATE) and page.numbers(_FILL_ORDER) in ((), (1,))
    if not simple or page.numbers(_PREDICTOR) not in ((), (1,)) or page.premultiplied:
        raise InputError(
            UNNAMED, f"holds {page.bits} bits a sample in a compressed form; convert it to 16 bits"
        )
    planes = page.samples if page.numbers(PLANAR) == (2,) else 1
    channels = page.samples // planes
    across, down, offsets, sizes = _blocks(page)
    columns, rows = -(-page.width // across), -(-page.height // down)
    if not (len(offsets) == len(sizes) >= columns * rows * planes):
        raise InputError(UNNAMED, "damaged picture: parts of its pixels are missing; get an undamaged copy")
    values = np.zeros((page.height, page.width, page.samples), np.uint16)
    for index in range(columns * rows * planes):
        plane, place = divmod(index, columns * rows)
        row, column = place // columns * down, place % columns * across
        tall = down if page.numbers(_TILES) else min(down, page.height - row)
        view.seek(offsets[index])
        block = _block(view.read(sizes[index]), page, across, tall, channels)
        block = block[: page.height - row, : page.width - column]
        first = plane * channels
        values[row : row + block.shape[0], column : column + block.shape[1], first : first + channels] = block
    return values


def _blocks(page: Page) -> tuple[int, int, tuple[int, ...], tuple[int, ...]]:
    """Width and height of a strip or tile, and where they lie and how long they are."""
    if page.numbers(_TILES):
        width, height = page.numbers(_TILE_WIDTH), page.numbers(_TILE_HEIGHT)
        if not width or not height or min(*width, *height) < 1:
            raise InputError(UNNAMED, "damaged picture: its tiles have no size; get an undamaged copy")
        return width[0], height[0], page.numbers(_TILES), page.numbers(_TILE_BYTES)
    rows = (page.numbers(_ROWS) or (page.height,))[0]
    return page.width, max(1, min(rows, page.height)), page.numbers(_STRIPS), page.numbers(_STRIP_BYTES)


def _block(content: bytes, page: Page, across: int, tall: int, channels: int) -> Array:
    bits = page.bits
    width = -(-across * channels * bits // 8)
    try:
        unpacked = (
            zlib.decompressobj().decompress(content, tall * width) if page.compression != 1 else content
        )
    except zlib.error as error:
        raise InputError(
            UNNAMED, "damaged picture: its pixels cannot be unpacked; get an undamaged copy"
        ) from error
    if len(unpacked) < tall * width:
        raise InputError(UNNAMED, "damaged picture: parts of its pixels are missing; get an undamaged copy")
    lines = np.frombuffer(unpacked, np.uint8, tall * width).reshape(tall, width)
    digits = np.unpackbits(lines, axis=1)[:, : across * channels * bits].reshape(
        tall, across * channels, bits
    )
    values = digits.astype(np.uint16) @ (1 << np.arange(bits - 1, -1, -1)).astype(np.uint16)
    return values.reshape(tall, across, channels)


def channels_differ(page: Page, image: Image.Image) -> bool:
    """Whether Pillow takes a channel for alpha that the TIFF does not call alpha, or the other way round."""
    if page.premultiplied and page.numbers(PLANAR) == (2,):  # Pillow opens it and fails later
        return True
    if image.mode in ("P", "PA", "CMYK", "1"):
        return False
    return (image.mode in ("RGBA", "RGBa", "LA", "La", "RGBX")) != (page.alpha is not None)

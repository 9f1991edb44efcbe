"""From a file or its bytes to a `Picture`; what it is and how large is settled before decoding."""

from __future__ import annotations

import contextlib
import io
import os
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from dereflect.errors import UNNAMED, DereflectError, InputError, MissingExtra, Remedy, first_line
from dereflect.images import colour, deep, hdr, jpeg, metadata, png_chunks, tiff_pixels
from dereflect.images.depth import to_full_range
from dereflect.images.modes import SIXTEEN_BITS, in_plain_mode, is_lossy_webp
from dereflect.images.picture import Array, Metadata, Picture, convert_depth
from dereflect.images.profiles import PQ, Tagged, srgb_curve_profile
from dereflect.images.survey import Facts, profile_of, settle, survey
from dereflect.limits import DEFAULT_MAX_PIXELS

_LOSSY_FORMATS = ("JPEG", "HEIF", "AVIF")
_STILL_FORMATS = ("JPEG", "HEIF")  # may hold further pictures; the first, or the primary, is the photo
_MOST_SAMPLES = 6  # of a pixel that Pillow knows; it logs a line of its own where there are more
_pillow_limit = threading.Lock()


@dataclass
class Opened:
    """A file that is understood, and not yet decoded; `image` is None where Pillow cannot open it."""

    facts: Facts
    image: ImageFile.ImageFile | None
    width: int
    height: int


def read(
    source: str | os.PathLike[str] | bytes,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    short_side: int | None = None,
    raw_space: str = "srgb",
) -> Picture:
    """Read a picture file, or the bytes of one.

    Args:
        source: a path, or a file's content.
        max_pixels: refuse larger pictures, before decoding.
        short_side: the shorter side that will do: a JPEG larger than that may come at a half, a quarter or an
            eighth of its size, which is decoded in less time.
        raw_space: colour space in which a camera's raw file is developed, a name in
            `dereflect.images.raw.SPACES`.

    Raises:
        InputError: not there, not a picture, damaged, too large, or of a kind that has to be converted first.
        MissingExtra: HEIC, 16-bit colour or a raw file without the package that reads it.
    """
    name = UNNAMED if isinstance(source, bytes) else os.fspath(source)
    with _opened(source, max_pixels) as found:
        if short_side and found.image is not None:
            found.image.draft(found.image.mode, (short_side, short_side))
        try:
            return _decode(found, name, raw_space)
        except DereflectError as error:
            raise error.about(name) from error
        except MemoryError as error:
            raise InputError(name, "needs more memory to be decoded than is free") from error
        except Exception as error:  # decoders raise whatever they like on damaged files
            raise InputError(name, f"damaged picture ({first_line(error)})") from error


def probe(
    source: str | os.PathLike[str] | bytes, max_pixels: int = DEFAULT_MAX_PIXELS
) -> tuple[str, int, int]:
    """Format, width and height from a picture's header alone (as stored: orientation not applied).

    Raises:
        InputError, MissingExtra: as `read`.
    """
    with _opened(source, max_pixels) as found:
        return found.facts.format, found.width, found.height


def upright_size(
    source: str | os.PathLike[str] | bytes, max_pixels: int = DEFAULT_MAX_PIXELS
) -> tuple[int, int]:
    """Width and height as the picture is shown (orientation applied), from its header alone.

    Raises:
        InputError, MissingExtra: as `read`.
    """
    with _opened(source, max_pixels) as found:
        _, orientation, _ = settle(found.facts, found.image)
        return (found.height, found.width) if orientation >= 5 else (found.width, found.height)


@contextlib.contextmanager
def _opened(source: str | os.PathLike[str] | bytes, limit: int) -> Iterator[Opened]:
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
            if not file.seekable():
                file = io.BytesIO(file.read())
            if not file.read(1):
                raise InputError(name, "is empty")
            facts = survey(file, name)
            image = _open_image(facts)
            if image is not None:
                stack.enter_context(image)
        except DereflectError as error:
            raise error.about(name) from error
        except (UnidentifiedImageError, SyntaxError) as error:
            raise InputError(
                name, f"is not a picture that can be read, or is damaged (it begins as {facts.format})"
            ) from error
        except Exception as error:
            raise InputError(name, f"cannot be read ({first_line(error)})") from error
        found = _measured(facts, image)
        millions = found.width * found.height / 1e6
        if millions * 1e6 > limit:
            raise InputError(
                name,
                f"{found.width} x {found.height} is {millions:.0f} megapixels, over the limit of "
                f"{limit / 1e6:.0f}",
                remedy=Remedy("raise it with {}", "max_pixels"),
            )
        yield found


def _measured(facts: Facts, image: ImageFile.ImageFile | None) -> Opened:
    if image is not None:
        return Opened(facts, image, image.width, image.height)
    if facts.raw is not None:
        return Opened(facts, None, facts.raw.width, facts.raw.height)
    assert facts.page is not None  # of all kinds, only these two are read without Pillow
    return Opened(facts, None, facts.page.width, facts.page.height)


def _open_image(facts: Facts) -> ImageFile.ImageFile | None:
    """The picture as Pillow opens it, not loaded; None for raw files and TIFFs that it does not know."""
    if facts.raw is not None:
        return None
    if facts.format == "HEIF":
        try:
            import pillow_heif
        except ImportError as error:
            raise MissingExtra("pillow-heif", "heif", "HEIC") from error
        pillow_heif.register_heif_opener()
    if facts.page is not None and facts.page.samples > _MOST_SAMPLES:
        return None
    Image.init()  # a list of formats makes Pillow look only at readers that are imported already
    if facts.format not in Image.OPEN:
        raise InputError(UNNAMED, f"is {facts.format}, which this build of Pillow does not read")
    # Pillow has a limit of its own, lower than ours, in a module-wide variable; ours is checked by the
    # caller.
    with _pillow_limit, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(facts.stream, formats=(facts.format,))
        except (UnidentifiedImageError, SyntaxError, ValueError, TypeError, KeyError):
            if facts.page is None or facts.page.width * facts.page.height == 0:
                raise
            return None
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _decode(found: Opened, name: str, raw_space: str) -> Picture:
    facts, image = found.facts, found.image
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as below
        if image is not None:
            _refuse_animation(facts, image)
        known, orientation, more = settle(facts, image)
    notes = [*facts.notes, *more]
    lossless = facts.format not in _LOSSY_FORMATS and not (
        facts.format == "WEBP" and is_lossy_webp(facts.stream)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # e.g. of odd EXIF; what cannot be read is an error, the rest is kept
        if facts.raw is not None:
            values, known, more = facts.raw.develop(known, raw_space)
            notes += more
        else:
            values, known, orientation = _values(found, known, orientation, notes)
    values = metadata.apply_orientation(values, orientation)
    values, known = in_known_colours(values, facts, known, notes)
    return as_picture(values, known, facts.format, Path(name).suffix, lossless, notes)


def as_picture(
    values: Array, known: Metadata, format_name: str, suffix: str, lossless: bool, notes: list[str]
) -> Picture:
    """A picture of (H, W, 1 to 4) upright values, grey or RGB with alpha last."""
    colours = 3 if values.shape[2] >= 3 else 1
    alpha = np.ascontiguousarray(values[..., colours]) if values.shape[2] > colours else None
    pixels = np.ascontiguousarray(values[..., :3] if colours == 3 else values[..., 0])
    return Picture(pixels, alpha, known, format_name, suffix, lossless, tuple(dict.fromkeys(notes)))


def _refuse_animation(facts: Facts, image: ImageFile.ImageFile) -> None:
    frames = getattr(image, "n_frames", 1)
    if frames <= 1 or facts.format == "TIFF":
        return
    if facts.format == "HEIF":
        facts.notes.append(f"holds {frames} pictures; the main one is used")
    elif facts.format not in _STILL_FORMATS:
        raise InputError(
            UNNAMED, f"is animated ({frames} frames); save the frame that you want as a still picture"
        )


def _values(
    found: Opened, known: Metadata, orientation: int, notes: list[str]
) -> tuple[Array, Metadata, int]:
    """Decode to (H, W, 1 to 4) uint8 or uint16, with what has become of metadata and orientation by it."""
    facts, image = found.facts, found.image
    page = facts.page
    if page is not None and (page.bits > 8 or image is None or tiff_pixels.channels_differ(page, image)):
        values, more = tiff_pixels.decode(page, facts.stream, image)
        notes += more
        return values, known, orientation
    assert image is not None
    if facts.format == "PNG":
        place = facts.stream.tell()
        png_chunks.check_pixels(facts.stream)
        facts.stream.seek(place)
    if facts.format == "PNG" and facts.bits == 16 and image.mode not in SIXTEEN_BITS:
        facts.stream.seek(0)
        values = _full_range(deep.read_deep(facts.stream.read()), notes)
        return _with_transparent(values, facts), known, orientation
    if facts.tagged is not None and facts.tagged.high_dynamic_range and facts.bits > 8:
        deep_values, turned = _deep_values(found)
        if deep_values is not None:
            notes[:] = [note for note in notes if not note.endswith("are read as 8")]
            return deep_values, known, 1 if turned else orientation
    loaded = _loaded(image, facts, notes)
    if facts.format == "PNG" and facts.transparent is not None:
        loaded.info.pop("transparency", None)
    plain, known = in_plain_mode(loaded, known, notes)
    values = np.asarray(plain)
    values = values.astype(np.uint16) if values.dtype not in (np.uint8, np.uint16) else values
    values = _full_range(values, notes)
    return _with_transparent(values if values.ndim == 3 else values[..., None], facts), known, orientation


def _full_range(values: Array, notes: list[str]) -> Array:
    if values.dtype == np.uint16:
        values, note = to_full_range(values)
        notes += [note] if note else []
    return values


def _loaded(image: ImageFile.ImageFile, facts: Facts, notes: list[str]) -> Image.Image:
    try:
        image.load()
        return image
    except OSError:
        facts.stream.seek(0)
        content = facts.stream.read()
        if facts.format != "JPEG" or not jpeg.is_cut(content):
            raise
    content, note = jpeg.mended(content)
    notes.append(note)
    mended = Image.open(io.BytesIO(content), formats=("JPEG",))
    mended.load()
    return mended


def _with_transparent(values: Array, facts: Facts) -> Array:
    """With alpha where a PNG calls one grey or colour transparent."""
    if (
        facts.transparent is None
        or values.shape[2] not in (1, 3)
        or len(facts.transparent) != values.shape[2]
    ):
        return values
    largest = (1 << facts.bits) - 1
    white = np.iinfo(values.dtype).max
    key = [(level & largest) * white // largest for level in facts.transparent]
    return np.dstack([values, np.where((values == key).all(axis=2), 0, white).astype(values.dtype)])


def _deep_values(found: Opened) -> tuple[Array | None, bool]:
    """HEIC or AVIF of more than 8 bits as (H, W, 3) uint16, where a library at hand gives them.

    And whether it has turned them upright.
    """
    found.facts.stream.seek(0)
    content = found.facts.stream.read()
    if found.facts.format == "HEIF":
        import pillow_heif

        deep_image = pillow_heif.open_heif(io.BytesIO(content), convert_hdr_to_8bit=False)
        values = np.asarray(deep_image)
        turned = False
    else:
        try:
            values, turned = deep.read_deep(content), True
        except DereflectError:
            return None, False
    if values.dtype != np.uint16 or values.ndim != 3 or values.shape[2] < 3:
        return None, False
    return values[..., :3], turned


def in_known_colours(
    values: Array, facts: Facts, known: Metadata, notes: list[str]
) -> tuple[Array, Metadata]:
    """Pixels and profile that belong together and convert both ways."""
    count = 3 if values.shape[2] >= 3 else 1
    icc, tagged = profile_of(facts, known, grey=count == 1)
    if tagged is not None:
        values, icc = _tone_mapped(values, facts, tagged, notes)
    elif icc and colour.is_one_way(icc, grey=count == 1):
        convert = colour.grey_to_srgb if count == 1 else colour.to_srgb
        converted = convert(np.ascontiguousarray(values[..., :count]), icc)
        values, icc = np.dstack([converted, values[..., count:]]), None
        notes.append("its colour profile cannot be converted back to; the colours were converted to sRGB")
    return values, replace(known, icc=icc)


def _tone_mapped(values: Array, facts: Facts, tagged: Tagged, notes: list[str]) -> tuple[Array, bytes | None]:
    name = "PQ" if tagged.transfer == PQ else "HLG"
    count = 3 if values.shape[2] >= 3 else 1
    notes.append(f"is a picture of high dynamic range ({name}); it was tone-mapped to the ordinary range")
    colours = values[..., :3] if count == 3 else values[..., 0]
    mapped = hdr.tone_mapped(colours, tagged)
    if facts.format in ("HEIF", "AVIF"):  # they are written with 8 bits
        mapped = convert_depth(mapped, np.dtype(np.uint8))
    values = np.dstack([mapped, convert_depth(values[..., count:], mapped.dtype)])
    return values, srgb_curve_profile(tagged.chromaticities) if count == 3 else None

"""TIFF of 8 and 16 bits a sample with all metadata, which no writer at hand does."""

from __future__ import annotations

import io
import zlib
from typing import Any

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import IFDRational, ImageFileDirectory_v2

from dereflect.errors import UNNAMED, InputError, Remedy
from dereflect.images.metadata import DESCRIPTIVE_TAGS, FOLDERS, IPTC_TAG
from dereflect.images.picture import Metadata, Picture, convert_depth

_ROWS = 64  # of one strip
_BYTE, _SHORT, _LONG, _UNDEFINED = 1, 3, 4, 7


def encode_tiff(picture: Picture) -> bytes:
    """A TIFF file, deflated with horizontal differencing.

    Raises:
        InputError: the picture needs more than the 4 GB that a TIFF can hold.
    """
    if picture.pixels.dtype == np.float32:
        picture = picture.with_pixels(convert_depth(picture.pixels, np.dtype(np.uint16)))
    values = picture.to_numpy()
    values = values[..., None] if values.ndim == 2 else values
    height, width, channels = values.shape
    strips = []
    for start in range(0, height, _ROWS):
        rows = values[start : start + _ROWS]
        differences = rows.copy()
        differences[:, 1:] -= rows[:, :-1]  # modulo 256 or 65536
        strips.append(zlib.compress(differences.astype(differences.dtype.newbyteorder("<")).tobytes(), 4))
    if sum(map(len, strips)) > 2**32 - 2**24:
        raise InputError(UNNAMED, "is too large for TIFF", remedy=Remedy("choose {} png", "format"))

    tags: Any = ImageFileDirectory_v2()
    _describe(tags, picture.metadata)
    tags[256], tags[257] = width, height
    tags[258] = (8 * values.dtype.itemsize,) * channels
    tags[259] = 8  # deflate
    tags[262] = 1 if channels <= 2 else 2  # grey, or RGB
    tags[274] = 1
    tags[277], tags[278] = channels, min(_ROWS, height)
    tags[284] = 1  # samples interleaved
    tags[317] = 2  # horizontal differencing
    if picture.alpha is not None:
        tags[338] = 2  # unassociated alpha
    tags[279] = tuple(len(strip) for strip in strips)
    tags.tagtype[279] = tags.tagtype[273] = _LONG
    tags[273] = tuple(np.cumsum([0] + [len(strip) for strip in strips[:-1]]).tolist())
    buffer = io.BytesIO()
    tags.save(buffer)  # writes the header too, and moves the strips' offsets behind itself
    for strip in strips:
        buffer.write(strip)
    return buffer.getvalue()


def _describe(tags: Any, known: Metadata) -> None:
    for tag, value in _exif_tags(known.exif).items():
        tags[tag] = value
    if known.icc:
        tags.tagtype[34675] = _UNDEFINED
        tags[34675] = known.icc
    if known.xmp:
        tags.tagtype[700] = _BYTE
        tags[700] = known.xmp
    if known.iptc:
        tags.tagtype[IPTC_TAG] = _UNDEFINED
        tags[IPTC_TAG] = known.iptc
    if known.dpi:
        tags[282], tags[283] = (IFDRational(round(value * 1000), 1000) for value in known.dpi)
        tags[296] = 2  # dots an inch


def _exif_tags(exif: bytes | None) -> dict[int, Any]:
    """The descriptive tags of an EXIF block that can be written back; private ones of odd types cannot."""
    if not exif:
        return {}
    block = Image.Exif()
    block.load(exif)
    found: dict[int, Any] = {}
    for tag in DESCRIPTIVE_TAGS:
        value: Any = dict(block.get_ifd(tag)) if tag in FOLDERS else block.get(tag)
        if isinstance(value, dict):
            value = {inner: item for inner, item in value.items() if _writable(inner, item, tag)}
        if value and (isinstance(value, dict) or _writable(tag, value)):
            found[tag] = value
    return found


def _writable(tag: int, value: Any, group: int | None = None) -> bool:
    trial: Any = ImageFileDirectory_v2(group=group)
    try:
        trial[tag] = value
        trial.tobytes()
    except Exception:  # the writer raises whatever its types do not foresee
        return False
    return True

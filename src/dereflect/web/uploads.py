"""What people send: photos, masks and file names, none of them trusted."""

from __future__ import annotations

import logging
import re
import unicodedata
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import quote

from dereflect import images
from dereflect.errors import DereflectError
from dereflect.images.writing import target_format
from dereflect.web.messages import FieldFault, fault_line

log = logging.getLogger("dereflect.web")
LONGEST_STEM = 100
ANY_SIZE = 1 << 62


@dataclass(frozen=True)
class Upload:
    """A photo that was sent.

    Attributes:
        content: the file.
        stem: a harmless name, without extension, to call outputs by.
        suffix: the extension it came with, e.g. ``".JPG"``; "" where it had none.
        format: Pillow's name of the format that the content has, whatever the name says.
    """

    content: bytes
    stem: str
    suffix: str
    format: str

    def name_of(self, layer: str, format: str) -> str:
        """File name of a layer, as the command line gives it."""
        extension = images.suffix_of(
            target_format(self.format, format), self.suffix if format == "keep" else ""
        )
        return f"{self.stem}_{layer}{extension}"


def check_photo(content: bytes, file_name: str | None, max_pixels: int) -> Upload:
    """Look at a photo's header, without decoding it.

    Raises:
        FieldFault: 415 where it is no picture, 413 where it has too many pixels.
    """
    format_name = check_picture(content, "image", max_pixels)
    stem, suffix = safe_name(file_name or "")
    return Upload(content, stem, suffix, format_name)


def check_picture(content: bytes, field: str, max_pixels: int) -> str:
    """As `check_photo`, for a picture in any form field; returns its format."""
    try:
        format_name, width, height = images.probe(content, ANY_SIZE)
    except DereflectError as error:
        raise FieldFault(415, f"{field}: {fault_line(error)}", field) from error
    except Exception as error:  # libraries raise whatever they like at odd files
        kind = type(error).__name__
        log.exception("%s: a header cannot be read", field)
        said = f"{field}: cannot be read ({kind}); the service's log says more"
        raise FieldFault(422, said, field) from error
    if width * height > max_pixels:
        megapixels, most = width * height / 1e6, max_pixels / 1e6
        raise FieldFault(
            413,
            f"{field}: {width} x {height} is {megapixels:.0f} megapixels, over the limit of {most:.0f}",
            field,
        )
    return format_name


def safe_name(file_name: str) -> tuple[str, str]:
    """(stem, suffix) of a file name without folders, control characters or anything a shell or browser minds.

    >>> safe_name("../../etc/a b.JPG")
    ('a b', '.JPG')
    """
    last = unicodedata.normalize("NFC", file_name).replace("\\", "/").rpartition("/")[2]
    path = PurePosixPath(last)
    suffix = path.suffix if re.fullmatch(r"\.[A-Za-z0-9]{1,5}", path.suffix) else ""
    stem = last.removesuffix(suffix) if suffix else last
    stem = re.sub(r"[^\w .()+,=@-]+", "_", stem).strip(" .")[:LONGEST_STEM]
    return stem or "picture", suffix


def content_disposition(file_name: str) -> str:
    """The header that gives a download its name, for old and new clients (RFC 6266)."""
    plain = file_name.encode("ascii", "replace").decode("ascii").replace("?", "_")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(file_name, safe='')}"

"""Which page of a TIFF is the photo, and how its numbers are to be understood."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from dereflect.errors import UNNAMED, InputError
from dereflect.images.ifd import Directory, Structure
from dereflect.images.metadata import ORIENTATION, mark_directory

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
SAMPLES, PLANAR, LARGEST_VALUE, EXTRA, SAMPLE_FORMAT, SUB_FOLDERS = 277, 284, 281, 338, 339, 330
_NEW_KIND, _OLD_KIND, _DNG_VERSION = 254, 255, 50706
MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
_RAW_PHOTOMETRIC = {32803, 34892}
_RAW_COMPRESSION = {32767, 32769, 32770, 34713, 65000, 65535}
_REFUSED = {8: "CIE Lab", 9: "ICC Lab", 10: "ITU Lab", 4: "a mask", 32844: "LogL", 32845: "LogLuv"}
_MOST_PAGES = 64


@dataclass(frozen=True)
class Page:
    """The page that is the photo.

    Attributes:
        structure, directory: where its entries lie.
        number: from 1 on; 0 for one that lies below another.
        pages: how many full pages the file has.
        bits: of one sample, as stored.
        true_bits: of one sample, as used: 12 where 16 hold 12.
        samples: of one pixel.
        colours: samples that are colour: 1, 3 or 4.
        alpha: index of the sample that is transparency; None for none.
        premultiplied: whether colours are multiplied by alpha.
        photometric, compression: TIFF's numbers.
    """

    structure: Structure
    directory: Directory
    number: int
    pages: int
    width: int
    height: int
    bits: int
    true_bits: int
    samples: int
    colours: int
    alpha: int | None
    premultiplied: bool
    photometric: int
    compression: int

    def view(self) -> BinaryIO:
        """The file as if this page were its first, which every decoder reads, and upright.

        Decoders differ in whether they turn it, and in which types of the entry they know.
        """
        structure = self.structure
        file = structure.file
        if self.directory.start == structure.first and self.numbers(ORIENTATION) in ((), (1,)):
            return file
        file.seek(0)
        content = bytearray(file.read())
        mark_directory(content, structure, self.directory)
        code = structure.order + ("Q" if structure.big else "L")
        struct.pack_into(code, content, structure.pointer, self.directory.start)
        return io.BytesIO(bytes(content))

    def numbers(self, tag: int) -> tuple[int, ...]:
        """The whole numbers of one of its entries; none where it has no such entry."""
        return self.structure.whole_numbers(self.directory.get(tag))

    @property
    def notes(self) -> list[str]:
        """What a person should know of the choice."""
        if self.number == 1:
            return [f"has {self.pages} pages; the first is used"] if self.pages > 1 else []
        more = f" and has {self.pages} pages; the first of them is used" if self.pages > 1 else ""
        return [f"begins with a thumbnail, which is skipped{more}"]


def find_page(file: BinaryIO) -> Page | None:
    """Choose the first page that is no thumbnail and no mask; None where the file is a camera's raw file.

    Raises:
        InputError: a damaged file, or samples that have to be converted first.
    """
    try:
        structure = Structure(file)
    except ValueError as error:
        raise InputError(UNNAMED, "is not a picture that can be read: its TIFF header is damaged") from error
    pages = [page for _, page in zip(range(_MOST_PAGES), structure.chain(), strict=False) if page.entries]
    if not pages or not pages[0].get(WIDTH):
        raise InputError(UNNAMED, "damaged picture: its TIFF directory cannot be read; get an undamaged copy")
    below = [found for page in pages for found in _below(structure, page)]
    if any(_is_raw(structure, page) for page in [*pages, *below]):
        return None
    full = [page for page in pages if _is_full(structure, page)]
    chosen = full or [page for page in below if _is_full(structure, page)] or pages
    number = 0 if chosen[0] in below and not full else 1 + pages.index(chosen[0])
    return _understood(structure, chosen[0], number, len(full) or 1)


def _below(structure: Structure, page: Directory) -> Iterator[Directory]:
    for address in structure.whole_numbers(page.get(SUB_FOLDERS))[:_MOST_PAGES]:
        found = structure.directory(address)
        if found.entries:
            yield found


def _is_full(structure: Structure, page: Directory) -> bool:
    if page.get(WIDTH) is None:
        return False
    kind = structure.whole_numbers(page.get(_NEW_KIND))
    old = structure.whole_numbers(page.get(_OLD_KIND))
    return not (kind[0] & 0b101 if kind else old[:1] == (2,))  # a smaller copy, or a mask


def _is_raw(structure: Structure, page: Directory) -> bool:
    photometric = structure.whole_numbers(page.get(PHOTOMETRIC))[:1]
    compression = structure.whole_numbers(page.get(COMPRESSION))[:1]
    return (
        page.get(_DNG_VERSION) is not None
        or bool(set(photometric) & _RAW_PHOTOMETRIC)
        or bool(set(compression) & _RAW_COMPRESSION)
    )


def _understood(structure: Structure, page: Directory, number: int, pages: int) -> Page:
    def numbers(tag: int, default: int) -> tuple[int, ...]:
        return structure.whole_numbers(page.get(tag)) or (default,)

    samples = numbers(SAMPLES, 1)[0]
    bits, formats = set(numbers(BITS, 1)[:samples]), set(numbers(SAMPLE_FORMAT, 1)[:samples])
    photometric = numbers(PHOTOMETRIC, MIN_IS_BLACK)[0]
    if not formats <= {1, 4}:
        kind = "floating-point" if 3 in formats else "signed or complex"
        raise InputError(UNNAMED, f"holds {kind} samples; convert it to 8 or 16 bit unsigned")
    if photometric in _REFUSED:
        raise InputError(UNNAMED, f"is a TIFF in {_REFUSED[photometric]}; convert it to RGB or grey")
    if len(bits) != 1 or not 1 <= max(bits) <= 16:
        depth = " and ".join(str(count) for count in sorted(bits))
        words = f"holds {depth} bits a sample, for which there is no agreed white"
        raise InputError(UNNAMED, f"{words}; convert it to 8 or 16 bit unsigned")
    (depth_bits,) = bits
    colours = {RGB: 3, CMYK: 4, YCBCR: 3}.get(photometric, 1)
    kinds = structure.whole_numbers(page.get(EXTRA))
    alpha = next((index for index, kind in enumerate(kinds) if kind in (1, 2)), None)
    if samples < colours or (alpha is not None and colours + alpha >= samples):
        raise InputError(
            UNNAMED, "damaged picture: its TIFF directory contradicts itself; get an undamaged copy"
        )
    return Page(
        structure=structure,
        directory=page,
        number=number,
        pages=pages,
        width=numbers(WIDTH, 0)[0],
        height=numbers(HEIGHT, 0)[0],
        bits=depth_bits,
        true_bits=_true_bits(depth_bits, numbers(LARGEST_VALUE, 0)),
        samples=samples,
        colours=colours,
        alpha=None if alpha is None else colours + alpha,
        premultiplied=alpha is not None and kinds[alpha] == 1,
        photometric=photometric,
        compression=numbers(COMPRESSION, 1)[0],
    )


def _true_bits(bits: int, largest: tuple[int, ...]) -> int:
    """Cameras' and scanners' programs put 10, 12 or 14 bits into 16, and say so by the largest value."""
    used = max(largest)
    return used.bit_length() if bits == 16 and used >= 511 and used & (used + 1) == 0 else bits

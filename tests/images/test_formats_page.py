"""Every row of the tables in docs/formats.md, over files that are made for it."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from made import (
    at_depth,
    chunk,
    exif,
    exif_segment,
    iptc,
    iptc_segment,
    jpeg,
    photo,
    png,
    saved,
    segment,
    tiff,
    with_first_page,
    xmp,
    xmp_segment,
)
from PIL import Image, ImageCms
from test_tagged_colours import chrm, cicp, gama, levels, one_way_profile, stored_as

from dereflect import images
from dereflect.errors import InputError
from dereflect.images.profiles import grey_profile
from dng import dng

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
NAMES = {"HEIC": "HEIF", "WebP": "WEBP", "raw": "TIFF"}


def table(heading: str) -> list[dict[str, str]]:
    """Rows of the table below a heading, by its columns."""
    lines = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def image(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(np.rint(photo() * 255).astype(np.uint8)).convert(mode)


def by_pillow(name: str, mode: str = "RGB", frames: int = 1, **options) -> bytes:
    if name == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    buffer = io.BytesIO()
    more = [image(mode).transpose(Image.Transpose.ROTATE_180)] * (frames - 1)
    image(mode).save(buffer, name, **options, **({"save_all": True, "append_images": more} if more else {}))
    return buffer.getvalue()


def depth(values: np.ndarray, *bits: int) -> list[bytes]:
    return [png(at_depth(values, count), count) for count in bits]


def negatives(*bits: int) -> list[bytes]:
    grey = photo()[..., 1]
    return [
        tiff(at_depth(values, count), count, order, photometric)
        for count in bits
        for order in "<>"
        for photometric, values in ((0, 1 - grey), (1, grey))
    ]


def transparent(values: np.ndarray, bits: int) -> bytes:
    whole = at_depth(values, bits)
    key = np.atleast_1d(whole[3, 4])
    return png(whole, bits, chunk(b"tRNS", struct.pack(f">{len(key)}H", *key.tolist())))


def cmyk() -> bytes:
    pytest.importorskip("pyvips")
    import pyvips

    source = pyvips.Image.new_from_array(np.asarray(image()), interpretation="srgb")
    return source.icc_transform("cmyk", input_profile="srgb").jpegsave_buffer(Q=95)


def twelve_bits() -> bytes:
    content = bytearray(jpeg(photo()))
    content[bytes(content).index(b"\xff\xc0") + 4] = 12
    return bytes(content)


def wrong_sum() -> bytes:
    content = bytearray(png(at_depth(photo(), 8), 8))
    content[-14] ^= 1
    return bytes(content)


def deep_heic(**colours) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    data = np.rint(photo(64, 64) * 65535).astype(np.uint16).tobytes()
    buffer = io.BytesIO()
    pillow_heif.from_bytes("RGB;16", (64, 64), data).save(buffer, quality=95, chroma=444, **colours)
    return buffer.getvalue()


def nclx(primaries: int, transfer: int) -> bytes:
    return deep_heic(color_primaries=primaries, transfer_characteristics=transfer, matrix_coefficients=6)


def raw(**options) -> list[bytes]:
    pytest.importorskip("rawpy", reason="raw files need the extra 'raw' (rawpy)")
    return [dng(np.asarray(photo(96, 128)), **options)]


G, C = photo()[..., 1], photo()
ALPHA = np.tile(np.linspace(0, 1, C.shape[1]), (C.shape[0], 1))
THUMBNAIL = (254, 4, [1])

PIXELS = {
    "JPEG: colour": lambda: [jpeg(C), jpeg(C, progressive=True)],
    "JPEG: grey": lambda: [jpeg(G)],
    "JPEG: CMYK with a profile": lambda: [cmyk()],
    "JPEG: CMYK without a profile": lambda: [by_pillow("JPEG", "CMYK")],
    "JPEG: 12 bits": lambda: [twelve_bits()],
    "JPEG: all but its last bytes": lambda: [jpeg(C)[:-2], jpeg(C)[:-1]],
    "JPEG: half of its bytes": lambda: [jpeg(C)[: len(jpeg(C)) // 2]],
    "PNG: grey, 1, 2, 4 or 8 bits": lambda: depth(G, 1, 2, 4, 8),
    "PNG: grey, 16 bits": lambda: depth(G, 16),
    "PNG: colour, 8 bits": lambda: depth(C, 8),
    "PNG: colour, 16 bits": lambda: depth(C, 16),
    "PNG: palette": lambda: [by_pillow("PNG", "P")],
    "PNG: colour with alpha": lambda: depth(np.dstack([C, ALPHA]), 8),
    "PNG: one transparent grey, 1 to 8 bits": lambda: [transparent(G, bits) for bits in (1, 2, 4, 8)],
    "PNG: one transparent grey, 16 bits": lambda: [transparent(G, 16)],
    "PNG: one transparent colour, 16 bits": lambda: [transparent(C, 16)],
    "PNG: 12 bits in 16": lambda: [png(at_depth(G, 12), 16)],
    "PNG: a wrong checksum": lambda: [wrong_sum()],
    "PNG: an animation": lambda: [by_pillow("PNG", frames=2)],
    "TIFF: grey, black or white first, 1 to 8 bits": lambda: negatives(1, 2, 4, 8),
    "TIFF: grey, black or white first, 10 to 16 bits": lambda: negatives(10, 12, 14, 16),
    "TIFF: colour, 8 bits": lambda: [tiff(at_depth(C, 8), 8)],
    "TIFF: colour, 10 to 16 bits": lambda: [tiff(at_depth(C, bits), bits) for bits in (10, 12, 14, 16)],
    "TIFF: 12 bits in 16, stated": lambda: [tiff(at_depth(G, 12), 16, extra=[(281, 3, [4095])])],
    "TIFF: 12 bits in 16, not stated": lambda: [tiff(at_depth(G, 12), 16)],
    "TIFF: integers of 32 bits": lambda: [tiff(at_depth(G, 16), 32)],
    "TIFF: floating point": lambda: [tiff(at_depth(G, 16), 32, extra=[(339, 3, [3])])],
    "TIFF: signed integers": lambda: [tiff(at_depth(G, 15), 16, extra=[(339, 3, [2])])],
    "TIFF: a channel that is called alpha": lambda: [
        tiff(at_depth(np.dstack([C, ALPHA]), 8), 8, extra=[(338, 3, [2])])
    ],
    "TIFF: a channel that is not called alpha": lambda: [
        tiff(at_depth(np.dstack([C, ALPHA]), 8), 8, extra=extra) for extra in ([(338, 3, [0])], [])
    ],
    "TIFF: a thumbnail, then the photo": lambda: [
        with_first_page(tiff(at_depth(C, 8), 8), tiff(at_depth(photo(9, 12), 8), 8, extra=[THUMBNAIL]))
    ],
    "TIFF: several pages": lambda: [with_first_page(tiff(at_depth(G, 8), 8), tiff(at_depth(C, 8), 8))],
    "WebP: colour": lambda: [by_pillow("WEBP", lossless=True)],
    "WebP: colour with alpha": lambda: [saved(np.dstack([C, ALPHA]), "WEBP", lossless=True, exact=True)],
    "WebP: an animation": lambda: [by_pillow("WEBP", frames=2)],
    "BMP: colour": lambda: [by_pillow("BMP")],
    "GIF: one frame": lambda: [by_pillow("GIF")],
    "GIF: an animation": lambda: [by_pillow("GIF", frames=2)],
    "HEIC: 8 bits": lambda: [by_pillow("HEIF", quality=95)],
    "HEIC: 10 or 12 bits": lambda: [deep_heic()],
    "AVIF: 8 bits": lambda: [by_pillow("AVIF", quality=95)],
    "AVIF: an animation": lambda: [by_pillow("AVIF", frames=2)],
    "raw: a sensor's mosaic (DNG, NEF, ARW and others)": lambda: raw(),
    "raw: linear light (DNG)": lambda: raw(mosaic=False),
    "raw: no white balance": lambda: raw(neutral=None),
    "raw: a kind that LibRaw does not know": lambda: [b"FUJIFILMCCD-RAW 0201" + bytes(64) for _ in raw()],
    "raw: a DNG that is cut off": lambda: raw(cut=9),
    "JPEG XL: anything": lambda: [b"\xff\x0a" + bytes(40)],
    "JPEG 2000: anything": lambda: [by_pillow("JPEG2000")],
    "a web page: saved as .jpg": lambda: [b"<!doctype html><title>404</title>"],
}
LOSSY = {"JPEG", "HEIC", "AVIF", "GIF", "raw"}


@pytest.mark.parametrize("row", table("Pixels"), ids=lambda row: f"{row['format']}: {row['holds']}")
def test_pixels(row):
    for content in PIXELS[f"{row['format']}: {row['holds']}"]():
        if row["is read as"] == "refused":
            with pytest.raises(InputError) as caught:
                images.read(content)
            assert row["note or reason"] in str(caught.value)
            assert "\n" not in str(caught.value)
            continue
        picture = images.read(content)
        assert described(picture) == row["is read as"]
        notes = " ".join(picture.notes)
        assert row["note or reason"] in notes
        assert bool(notes) == bool(row["note or reason"])
        shown = (
            photo(picture.height, picture.width)[..., 1]
            if picture.grey
            else photo(picture.height, picture.width)
        )
        error = np.abs(picture.pixels / picture.scale - shown)
        few_levels = len(np.unique(picture.pixels)) <= 16 or row["holds"] == "palette"
        assert error.mean() < (0.3 if few_levels else 0.06 if row["format"] in LOSSY else 0.002)


def test_the_table_of_pixels_and_the_files_made_for_it_name_the_same():
    assert {f"{row['format']}: {row['holds']}" for row in table("Pixels")} == set(PIXELS)


def described(picture: images.Picture) -> str:
    bits = 8 * picture.pixels.dtype.itemsize
    alpha = "" if picture.alpha is None else " with alpha"
    return f"{bits}-bit {'grey' if picture.grey else 'colour'}{alpha}"


def display_p3() -> bytes:
    from dereflect.images.profiles import PRIMARIES, srgb_curve_profile

    return srgb_curve_profile(PRIMARIES[12])


def with_primaries() -> bytes:
    from dereflect.images.profiles import PRIMARIES

    content = tiff(levels(stored_as(12, 13, photo()), 8), 8, extra=[(318, 5, [2] * 2), (319, 5, [1] * 6)])
    rationals = [struct.pack("<LL", round(value * 1e4), 10_000) for value in PRIMARIES[12]]
    content = content.replace(struct.pack("<LL", 2, 1) * 2, b"".join(rationals[:2]))
    return content.replace(struct.pack("<LL", 1, 1) * 6, b"".join(rationals[2:]))


def adobe_rgb() -> bytes:
    block = Image.Exif()
    block[0x8769] = {0xA001: 65535, 0xA005: {1: "R03"}}
    return jpeg(photo(), exif_segment(block.tobytes()[6:]))


COLOURS = {
    "PNG: nothing": lambda: png(levels(C, 8), 8),
    "PNG: sRGB chunk": lambda: png(levels(C, 8), 8, chunk(b"sRGB", b"\0"), gama(1.0)),
    "PNG: ICC profile": lambda: saved(C, "PNG", icc_profile=display_p3()),
    "PNG: gAMA and cHRM": lambda: png(levels(C, 8), 8, gama(0.45455), chrm(12)),
    "PNG: gAMA, grey": lambda: png(levels(G, 8), 8, gama(1.0)),
    "PNG: cICP": lambda: png(levels(C, 16), 16, cicp(12, 13)),
    "PNG: cICP, PQ": lambda: png(levels(C / 2, 16), 16, cicp(1, 16)),
    "PNG: cICP, HLG": lambda: png(levels(C / 2, 8), 8, cicp(1, 18)),
    "PNG: grey profile": lambda: saved(G, "PNG", icc_profile=grey_profile("test", 1.8)),
    "JPEG: ICC profile": lambda: saved(C, "JPEG", icc_profile=display_p3()),
    "JPEG: EXIF (Adobe RGB)": adobe_rgb,
    "JPEG: profile that converts one way only": lambda: saved(C, "JPEG", icc_profile=one_way_profile()),
    "TIFF: ICC profile": lambda: saved(C, "TIFF", icc_profile=display_p3()),
    "TIFF: primaries and white point": with_primaries,
    "HEIC: nclx, sRGB": lambda: nclx(1, 13),
    "HEIC: nclx, Display P3": lambda: nclx(12, 13),
    "HEIC: nclx, PQ": lambda: nclx(9, 16),
    "AVIF: nclx, sRGB": lambda: by_pillow("AVIF"),
    "BMP: nothing": lambda: by_pillow("BMP"),
    "raw: the camera's matrix": lambda: raw()[0],
}


@pytest.mark.parametrize(
    "row", table("Colours"), ids=lambda row: f"{row['format']}: {row['colours told by']}"
)
def test_colours(row):
    content = COLOURS[f"{row['format']}: {row['colours told by']}"]()
    picture = images.read(content)
    notes = " ".join(note for note in picture.notes if "are read as 8" not in note)
    assert row["note"] in notes
    assert bool(notes) == bool(row["note"])
    result = images.read(images.encode(picture, NAMES.get(row["format"], row["format"])))
    icc = result.metadata.icc
    if row["results carry"] == "no profile":
        assert icc is None
        return
    assert icc is not None
    ImageCms.ImageCmsProfile(io.BytesIO(icc))  # LittleCMS takes it
    if row["results carry"] == "that profile":
        assert icc == Image.open(io.BytesIO(content)).info["icc_profile"]


def test_the_table_of_colours_and_the_files_made_for_it_name_the_same():
    assert {f"{row['format']}: {row['colours told by']}" for row in table("Colours")} == set(COLOURS)


def full() -> images.Picture:
    """A photo with all metadata there is."""
    block = exif("<", [(0x010F, 2, b"Canon EOS\0")])
    source = images.read(
        jpeg(
            photo(64, 64),
            exif_segment(block),
            xmp_segment(xmp('dc:format="image/jpeg"')),
            iptc_segment(iptc((80, "J. Doe"))),
            segment(0xFE, b"shot through glass"),
            dpi=(300, 300),
            icc_profile=display_p3(),
        )
    )
    from dataclasses import replace

    return replace(source, metadata=replace(source.metadata, texts=(("Title", "window"),)))


@pytest.mark.parametrize("row", table("Metadata"), ids=lambda row: row["written as"])
def test_metadata(row):
    name = NAMES.get(row["written as"], row["written as"])
    if name == "HEIF":
        pytest.importorskip("pillow_heif")
    picture = full()
    note = images.loss(picture, name)
    again = images.read(images.encode(picture, name)).metadata
    found = {
        "EXIF": b"Canon EOS" in (again.exif or b""),
        "profile": again.icc == picture.metadata.icc,
        "XMP": b"image/jpeg" in (again.xmp or b""),
        "resolution": again.dpi == pytest.approx((300, 300), abs=0.05),
        "IPTC": again.iptc == picture.metadata.iptc,
        "comment": again.comment == b"shot through glass" or ("Comment", "shot through glass") in again.texts,
        "PNG texts": ("Title", "window") in again.texts,
    }
    words = {"PNG texts": "texts"}
    for column, kept in found.items():
        assert row[column] == ("kept" if kept else "note"), column
        assert (words.get(column, column) in note) == (not kept), column

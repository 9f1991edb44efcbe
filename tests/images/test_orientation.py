"""Orientation: turned once, and 1 in every entry that states it, in the entry's own type."""

import io

import numpy as np
import pytest
from made import exif, exif_segment, jpeg, photo, saved, xmp, xmp_segment
from PIL import Image

from dereflect import images
from dereflect.images.ifd import Structure

ORIENTATION = 0x0112
TYPES = [
    (1, [6]),
    (3, [6]),
    (4, [6]),
    (6, [6]),
    (8, [6]),
    (9, [6]),
    (5, [6]),
    (3, [6, 6]),
    (4, [6, 6, 6]),
    (2, b"6\0"),
]
both_orders = pytest.mark.parametrize("order", ["<", ">"])


def stored(name: str, block: bytes) -> bytes:
    if name == "JPEG":
        return jpeg(photo(), exif_segment(block))
    return saved(photo(), name, exif=block, **({"lossless": True} if name == "WEBP" else {}))


def orientations(block: bytes) -> list[tuple[int, tuple[int, ...]]]:
    """Type and values of every entry of it, in the block's two directories."""
    structure = Structure(block)
    return [
        (entry.kind, structure.whole_numbers(entry))
        for directory in structure.chain()
        for entry in directory.entries
        if entry.tag == ORIENTATION
    ]


@both_orders
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("entry", TYPES)
@pytest.mark.parametrize("twice", [False, True])
def test_entries_of_every_type_and_count(order, name, entry, twice):
    kind, values = entry
    entries = [(0x010F, 2, b"Maker\0"), (ORIENTATION, kind, values)] + [(ORIENTATION, 3, [6])] * twice
    picture = images.read(stored(name, exif(order, entries)))
    assert picture.pixels.shape == (48, 36, 3)
    assert np.abs(picture.pixels / 255 - np.rot90(photo(), -1)).mean() < 0.01
    found = orientations(picture.metadata.exif)
    assert [type_ for type_, _ in found] == [kind] + [3] * twice
    assert {value for _, values_ in found for value in values_} == {1}
    assert images.read(images.encode(picture, name)).pixels.shape == picture.pixels.shape


@both_orders
def test_the_thumbnail_and_its_orientation_are_unlinked_and_settled(order):
    block = exif(order, [(ORIENTATION, 3, [6])], thumbnail_orientation=6)
    assert orientations(block) == [(3, (6,)), (3, (6,))]
    kept = images.read(stored("JPEG", block)).metadata.exif
    assert orientations(kept) == [(3, (1,))]
    second = int.from_bytes(block[22:26], {"<": "little", ">": "big"}[order])
    assert kept[second : second + 14] == exif(order, [(ORIENTATION, 3, [1])])[8:22]


@pytest.mark.parametrize("values", [[0], [9], [77]])
def test_an_orientation_that_means_nothing_turns_nothing(values):
    picture = images.read(stored("JPEG", exif("<", [(ORIENTATION, 3, values)])))
    assert picture.pixels.shape == (36, 48, 3)
    assert orientations(picture.metadata.exif) == [(3, (1,))]


@pytest.mark.parametrize("prefix", ["tiff", "t"])
@pytest.mark.parametrize("as_attribute", [True, False])
def test_xmp_is_marked_in_each_of_its_forms(prefix, as_attribute):
    packet = (
        (xmp('tiff:Orientation="6"') if as_attribute else xmp("", "<tiff:Orientation>6</tiff:Orientation>"))
        .replace(b"tiff:", f"{prefix}:".encode())
        .replace(b"xmlns:tiff=", f"xmlns:{prefix}=".encode())
    )
    content = jpeg(photo(), exif_segment(exif("<", [(ORIENTATION, 3, [6])])), xmp_segment(packet))
    kept = images.read(content).metadata.xmp
    assert kept.replace(b"6", b"1") == packet.replace(b"6", b"1") or b"Orientation" in kept
    assert b'Orientation="6"' not in kept
    assert b"Orientation>6" not in kept
    assert b'Orientation="1"' in kept or b"Orientation>1<" in kept


def test_an_orientation_in_xmp_alone_is_applied():
    assert images.read(jpeg(photo(), xmp_segment(xmp('tiff:Orientation="8"')))).pixels.shape == (48, 36, 3)


def test_sizes_in_exif_and_xmp_change_places_with_the_sides():
    block = Image.Exif()
    block[ORIENTATION], block[0x8769] = 6, {0xA002: 48, 0xA003: 36}
    packet = xmp(
        'tiff:Orientation="6" tiff:ImageWidth="48" tiff:ImageLength="36"',
        "<exif:PixelXDimension>48</exif:PixelXDimension><exif:PixelYDimension>36</exif:PixelYDimension>",
    )
    content = jpeg(photo(), exif_segment(block.tobytes()[6:]), xmp_segment(packet))
    kept = images.read(content).metadata
    again = Image.Exif()
    again.load(kept.exif)
    assert (again.get_ifd(0x8769)[0xA002], again.get_ifd(0x8769)[0xA003]) == (36, 48)
    assert b'tiff:ImageWidth="36"' in kept.xmp
    assert b"<exif:PixelYDimension>48<" in kept.xmp


@pytest.mark.parametrize("name", ["HEIF", "AVIF"])
def test_turned_heic_and_avif_come_upright_once(name):
    if name == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    content = saved(photo(), name, quality=95, exif=exif("<", [(ORIENTATION, 3, [6])]))
    picture = images.read(content)
    assert np.abs(picture.pixels / 255 - np.rot90(photo(), -1)).mean() < 0.05
    assert images.upright_size(content) == (36, 48)
    assert images.read(images.encode(picture, name)).pixels.shape == (48, 36, 3)


def test_pillow_images_are_turned_too():
    image = Image.open(io.BytesIO(stored("JPEG", exif(">", [(ORIENTATION, 4, [6])]))))
    assert images.read_any(image).pixels.shape == (48, 36, 3)

"""TIFF: page, depth, black and white, and alpha are what the file says, however it is made."""

import struct
import sys

import numpy as np
import pytest
from made import at_depth, exif, exif_segment, grey, jpeg, photo, tiff, with_first_page

from dereflect import images
from dereflect.errors import InputError, MissingExtra

WHITE_IS_0, BLACK_IS_0 = 0, 1
LARGEST, EXTRA, FORMAT, ORIENTATION, NEW_KIND = 281, 338, 339, 0x0112, 254
both_orders = pytest.mark.parametrize("order", ["<", ">"])


def near(picture: images.Picture, expected: np.ndarray, tolerance: float = 1e-4) -> bool:
    values = picture.to_numpy() / picture.scale
    return values.shape == expected.shape and float(np.abs(values - expected).max()) < tolerance


@both_orders
@pytest.mark.parametrize("tile", [None, 16])
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 10, 12, 14, 16])
@pytest.mark.parametrize("photometric", [WHITE_IS_0, BLACK_IS_0])
def test_grey_of_every_depth_in_black_and_in_white(order, tile, deflate, bits, photometric):
    levels = at_depth(grey(), bits)
    expected = levels / ((1 << bits) - 1)
    stored = levels if photometric == BLACK_IS_0 else (1 << bits) - 1 - levels
    picture = images.read(tiff(stored, bits, order, photometric, tile=tile, deflate=deflate))
    assert picture.pixels.dtype == (np.uint8 if bits <= 8 else np.uint16)
    assert near(picture, expected)
    assert picture.notes == ()


@both_orders
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_colour_of_every_depth(order, bits):
    assert near(images.read(tiff(at_depth(photo(), bits), bits, order)), photo(), 1 / ((1 << bits) - 1))


@both_orders
@pytest.mark.parametrize("photometric", [WHITE_IS_0, BLACK_IS_0])
@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("stated", [True, False])
def test_fewer_bits_in_16_are_scaled_with_a_note(order, photometric, bits, stated):
    levels = at_depth(grey(), bits)
    largest = (1 << bits) - 1
    stored = levels if photometric == BLACK_IS_0 else largest - levels
    picture = images.read(tiff(stored, 16, order, photometric, [(LARGEST, 3, [largest])] if stated else None))
    assert near(picture, grey(), 1 / largest)
    (note,) = picture.notes
    assert f"{bits} bits" in note
    assert "scaled to 16" in note


def test_a_dark_16_bit_picture_stays_dark():
    for brightest in (900, 2000, 9000, 40000):
        levels = np.rint(grey() * brightest).astype(np.uint32)
        if brightest == 900:  # which 10 bits could hold: one pixel more tells
            levels[0, 0] = 5000
        picture = images.read(tiff(levels, 16))
        assert np.array_equal(picture.pixels, levels)


def test_a_flat_16_bit_picture_is_not_taken_for_12_bits():
    assert set(np.unique(images.read(tiff(np.full((9, 9), 4000), 16)).pixels)) == {4000}


@pytest.mark.parametrize("bits", [32, 64])
def test_large_integers_are_refused(bits):
    content = tiff(at_depth(grey(), 16), 32).replace(
        b"\x02\x01\x03\x00\x01\x00\x00\x00\x20\x00", bits_entry(bits)
    )
    with pytest.raises(InputError, match=f"holds {bits} bits a sample, .*convert it to 8 or 16 bit unsigned"):
        images.read(content)


def bits_entry(bits: int) -> bytes:
    return b"\x02\x01\x03\x00\x01\x00\x00\x00" + bytes([bits, 0])


@pytest.mark.parametrize(("kind", "words"), [(2, "signed"), (3, "floating-point"), (6, "signed or complex")])
def test_signed_and_floating_samples_are_refused(kind, words):
    for bits in (16, 32):
        with pytest.raises(InputError, match=f"holds {words}.*convert it to 8 or 16 bit unsigned"):
            images.read(tiff(at_depth(grey(), 12), bits, extra=[(FORMAT, 3, [kind])]))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kinds", [[0], [2], [1], [0, 2], [2, 0], [0, 0]])
@pytest.mark.parametrize("colours", [1, 3])
@both_orders
def test_alpha_is_what_the_file_calls_alpha(order, bits, kinds, colours):
    shown = photo()[..., :colours]
    alpha = np.tile(np.linspace(0.25, 1, shown.shape[1]), (shown.shape[0], 1))
    stored = shown * alpha[..., None] if kinds == [1] else shown
    others = [alpha if kind else 1 - alpha for kind in kinds]
    levels = at_depth(np.dstack([stored, *others]), bits)
    picture = images.read(tiff(levels, bits, order, 2 if colours == 3 else 1, [(EXTRA, 3, kinds)]))
    expected = np.dstack([shown, alpha] if any(kinds) else [shown]).squeeze()
    assert near(picture, expected, 0.02 if kinds == [1] else 0.003)


def test_a_fourth_channel_without_a_word_is_no_alpha():
    levels = at_depth(np.dstack([photo(), np.zeros(photo().shape[:2])]), 8)
    assert near(images.read(tiff(levels, 8)), photo())


def test_16_bit_grey_in_white_needs_libvips_only_where_pillow_cannot_read_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvips", None)
    levels = 65535 - at_depth(grey(), 16)
    assert near(images.read(tiff(levels, 16, "<", WHITE_IS_0)), grey())
    with pytest.raises(MissingExtra, match=r"needs pyvips: run pip install 'dereflect\[deep\]'"):
        images.read(tiff(levels, 16, ">", WHITE_IS_0))


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("mark", [(NEW_KIND, 4, [1]), (NEW_KIND, 3, [1]), (NEW_KIND, 4, [4]), (255, 3, [2])])
def test_a_thumbnail_or_mask_that_comes_first_is_passed_over(bits, mark):
    small = tiff(at_depth(photo(9, 12), 8), 8, extra=[mark, (0x010F, 2, b"Maker\0")])
    content = with_first_page(tiff(at_depth(photo(), bits), bits), small)
    picture = images.read(content)
    assert near(picture, photo(), 1 / ((1 << bits) - 1))
    assert picture.notes == ("begins with a thumbnail, which is skipped",)
    assert images.probe(content) == ("TIFF", 48, 36)
    assert b"Maker" in (picture.metadata.exif or b"")  # only the first page has the camera's name


def test_a_thumbnail_that_comes_second_is_not_counted():
    content = with_first_page(
        tiff(at_depth(photo(9, 12), 8), 8, extra=[(NEW_KIND, 4, [1])]), tiff(at_depth(photo(), 8), 8)
    )
    picture = images.read(content)
    assert near(picture, photo())
    assert picture.notes == ()


RAW_MARKS = {
    "DNG": [(50706, 1, b"\x01\x04\x00\x00")],
    "colour filter array": [(262, 3, [32803])],
    "linear raw": [(262, 3, [34892])],
    "Nikon": [(259, 3, [34713])],
}


@pytest.mark.parametrize("kind", list(RAW_MARKS))
def test_raw_files_are_never_read_as_ordinary_tiffs(kind, monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    first = tiff(at_depth(photo(9, 12), 8), 8, extra=[(NEW_KIND, 4, [1])])
    for content in (first, with_first_page(tiff(at_depth(grey(), 16), 16), first)):
        tag, _, values = RAW_MARKS[kind][0]
        marked = add_entry(content, tag, RAW_MARKS[kind][0][1], values)
        with pytest.raises(MissingExtra, match=r"raw file of a camera needs rawpy"):
            images.read(marked)


def add_entry(content: bytes, tag: int, kind: int, values) -> bytes:
    """With an entry of the first directory replaced: one that the tests do not need otherwise."""
    spare = 278 if tag not in (259, 262) else tag
    place = next(at for at in range(10, 400, 12) if int.from_bytes(content[at : at + 2], "little") == spare)
    value = values if isinstance(values, bytes) else int(values[0]).to_bytes(4, "little")
    count = len(values)
    row = tag.to_bytes(2, "little") + kind.to_bytes(2, "little") + count.to_bytes(4, "little") + value
    return content[:place] + row + content[place + 12 :]


def test_a_colour_filter_array_below_the_first_page_is_seen(monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    below = tiff(at_depth(grey(), 16), 16, photometric=32803)
    first = tiff(at_depth(photo(9, 12), 8), 8, extra=[(330, 4, [0])])
    joined = bytearray(with_first_page(below, first))
    count = int.from_bytes(joined[8:10], "little")
    joined[10 + 12 * count : 14 + 12 * count] = bytes(4)  # not behind the first page, but below it
    place = joined.index(b"\x4a\x01\x04\x00\x01\x00\x00\x00") + 8
    joined[place : place + 4] = (len(first) + 8).to_bytes(4, "little")
    with pytest.raises(MissingExtra, match="raw file of a camera"):
        images.read(bytes(joined))


@both_orders
@pytest.mark.parametrize(
    "entry", [(3, [6]), (4, [6]), (1, [6]), (9, [6]), (3, [6, 6]), (5, [6]), (2, b"6\0")]
)
@pytest.mark.parametrize("bits", [8, 16])
def test_a_turned_tiff_is_turned_once_whatever_the_type_of_the_entry(order, entry, bits):
    kind, values = entry
    content = tiff(at_depth(photo(), bits), bits, order, extra=[(ORIENTATION, kind, values)])
    picture = images.read(content)
    assert near(picture, np.rot90(photo(), -1))
    assert images.upright_size(content) == (picture.width, picture.height) == (36, 48)
    assert near(images.read(images.encode(picture, "TIFF")), np.rot90(photo(), -1))


def test_a_tiff_that_lacks_pixels_is_an_error():
    content = tiff(at_depth(grey(), 12), 12)
    with pytest.raises(InputError, match="parts of its pixels are missing"):
        images.read(content[:-500])


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_damaged_exif_is_no_warning_of_a_library(kind, recwarn):
    block = exif("<", [(0x010E, 2, b"a description\0"), (0x010F, 2, b"Maker\0")])
    beyond = block.replace(struct.pack("<HHL", 0x010E, 2, 14), struct.pack("<HHL", 0x010E, 2, 1 << 20))
    if kind == "TIFF":
        content = tiff(
            at_depth(grey(), 8), 8, extra=[(0x010E, 2, b"a description\0"), (0x010F, 2, b"Maker\0")]
        )
        images.read(
            content.replace(struct.pack("<HHL", 0x010E, 2, 14), struct.pack("<HHL", 0x010E, 2, 1 << 20))
        )
    else:
        images.read(jpeg(photo(), exif_segment(beyond)))
    assert [str(warning.message) for warning in recwarn] == []

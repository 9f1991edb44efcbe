"""Depth, grey, palette, alpha and profiles: each does the right thing or says what to convert."""

import io
import sys

import numpy as np
import pytest
from PIL import Image, ImageCms

from dereflect import images
from dereflect.errors import InputError, MissingExtra
from dereflect.images.colour import colour_space
from dereflect.images.picture import convert_depth


def random(*shape: int, dtype=np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def saved(image: Image.Image, name: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=name, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colour_is_exact_both_ways(name, channels):
    values = random(70, 51, channels, dtype=np.uint16)
    picture = images.from_array(values)
    again = images.read(images.encode(picture, name))
    assert again.pixels.dtype == np.uint16
    assert np.array_equal(again.to_numpy(), values)


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_16_bit_colour_without_the_extra_names_the_install_command(name, monkeypatch):
    content = images.encode(images.from_array(random(9, 8, 3, dtype=np.uint16)), name)
    monkeypatch.setitem(sys.modules, "pyvips", None)
    with pytest.raises(MissingExtra, match=r"picture: 16-bit colour needs pyvips: .*dereflect\[deep\]"):
        images.read(content)


def test_a_turned_16_bit_tiff_is_turned_once():
    values = random(20, 30, 3, dtype=np.uint16)
    content = bytearray(images.encode(images.from_array(values), "TIFF"))
    place = content.index(b"\x12\x01\x03\x00\x01\x00\x00\x00\x01\x00") + 8  # the orientation tag's value
    content[place] = 6
    picture = images.read(bytes(content))
    assert np.array_equal(picture.pixels, np.rot90(values, -1))


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_16_bit_grey_needs_no_extra(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvips", None)
    values = random(33, 47, dtype=np.uint16)
    again = images.read(images.encode(images.from_array(values), name))
    assert np.array_equal(again.pixels, values)
    assert again.to_pil().mode == "I;16"


@pytest.mark.parametrize(
    ("mode", "expected"), [("L", "L"), ("1", "L"), ("P", "RGB"), ("LA", "LA"), ("RGBA", "RGBA")]
)
def test_modes_come_out_as_people_expect(mode, expected):
    image = Image.fromarray(random(20, 30, 3)).convert(mode)
    assert images.read(saved(image, "PNG")).to_pil().mode == expected


def test_a_transparent_palette_keeps_its_alpha():
    image = Image.fromarray(random(20, 30, 3)).quantize(16)
    picture = images.read(saved(image, "PNG", transparency=3))
    assert picture.alpha is not None
    assert set(np.unique(picture.alpha)) == {0, 255}


def test_alpha_is_refused_where_jpeg_cannot_hold_it():
    picture = images.from_array(random(8, 8, 4))
    with pytest.raises(InputError, match="transparency"):
        images.encode(picture, "JPEG")


def test_cmyk_without_a_profile_says_what_to_do():
    with pytest.raises(InputError, match="CMYK without a colour profile; convert it to RGB"):
        images.read(saved(Image.new("CMYK", (8, 8)), "JPEG"))


def test_animations_are_refused():
    frames = [Image.fromarray(random(8, 8, 3)), Image.fromarray(255 - random(8, 8, 3))]
    content = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match=r"animated \(2 frames\)"):
        images.read(content)


def test_the_first_page_of_a_tiff_is_used_with_a_note():
    pages = [Image.fromarray(random(8, 8, 3)), Image.fromarray(255 - random(8, 8, 3))]
    picture = images.read(saved(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    assert np.array_equal(picture.pixels, random(8, 8, 3))
    assert picture.notes == ("has 2 pages; the first is used",)


def test_float_tiff_is_refused():
    image = Image.fromarray(np.zeros((8, 8), np.float32))
    with pytest.raises(InputError, match="floating-point"):
        images.read(saved(image, "TIFF"))


def test_heic_is_read_and_written_as_heic():
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    ramp = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], 48, 0).repeat(3, 2)
    picture = images.read(saved(Image.fromarray(ramp), "HEIF", quality=95))
    assert (picture.format, picture.width, picture.height) == ("HEIF", 64, 48)
    again = images.read(images.encode(picture, "HEIF"))
    assert again.format == "HEIF"
    assert np.abs(again.pixels.astype(int) - ramp).mean() < 3


def test_heic_without_the_extra_names_the_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MissingExtra, match=r"HEIC needs pillow-heif: .*dereflect\[heif\]"):
        images.read(b"\x00\x00\x00\x18ftypheic" + bytes(64))


def test_webp_stays_lossless_if_it_was():
    values = random(30, 20, 3)
    lossless = images.read(saved(Image.fromarray(values), "WEBP", lossless=True))
    assert lossless.lossless
    assert np.array_equal(images.read(images.encode(lossless, "WEBP")).pixels, values)
    assert not images.read(saved(Image.fromarray(values), "WEBP", quality=80)).lossless


def test_jpeg_is_written_without_chroma_subsampling():
    content = images.encode(images.from_array(random(16, 16, 3)), "JPEG")
    from PIL import JpegImagePlugin

    assert JpegImagePlugin.get_sampling(Image.open(io.BytesIO(content))) == 0


def test_an_srgb_profile_asks_for_no_conversion():
    assert colour_space(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()) is None
    assert colour_space(None) is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_wide_profile_is_converted_there_and_back(dtype, wide_profile):
    space = colour_space(wide_profile)
    assert space is not None
    inside = convert_depth(random(20, 20, 3) // 4 + 96, np.dtype(dtype))  # colours that sRGB holds
    srgb = space.to_srgb(inside)
    assert np.abs(srgb.astype(int) - inside).max() > 0.02 * np.iinfo(dtype).max  # it is another space
    back = space.from_srgb(srgb)
    assert np.abs(back.astype(int) - inside.astype(int)).max() <= (2 if dtype == np.uint8 else 64)


def test_both_depths_of_a_profile_agree(wide_profile):
    space = colour_space(wide_profile)
    assert space is not None
    values = random(20, 20, 3) // 4 + 96
    deep = space.to_srgb(convert_depth(values, np.dtype(np.uint16)))
    assert np.abs(convert_depth(deep, np.dtype(np.uint8)).astype(int) - space.to_srgb(values)).max() <= 1


def test_a_damaged_profile_is_a_one_line_error():
    with pytest.raises(InputError, match="colour profile is damaged"):
        colour_space(bytes(16) + b"RGB " + bytes(200))


@pytest.mark.parametrize("shape", [(4, 5, 2), (0, 3, 3), (4,), (2, 2, 2, 3)])
def test_arrays_of_other_shapes_are_refused(shape):
    with pytest.raises(InputError, match="give"):
        images.from_array(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("values", [np.full((2, 2), 2.0), np.full((2, 2), np.nan), np.full((2, 2), -1.0)])
def test_floats_outside_0_to_1_are_refused(values):
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        images.from_array(values)


def test_depth_conversions_round_to_nearest():
    every = np.arange(65536, dtype=np.uint16)
    assert np.array_equal(convert_depth(every, np.dtype(np.uint8)), np.rint(every / 257).astype(np.uint8))
    assert np.array_equal(
        convert_depth(convert_depth(every, np.dtype(np.float32)), np.dtype(np.uint16)), every
    )
    bytes_ = np.arange(256, dtype=np.uint8)
    assert np.array_equal(
        convert_depth(convert_depth(bytes_, np.dtype(np.uint16)), np.dtype(np.uint8)), bytes_
    )

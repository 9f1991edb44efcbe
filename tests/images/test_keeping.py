"""What a format can hold is known before the first byte is written."""

import io

import numpy as np
import pytest
from PIL import Image

from dereflect import images
from dereflect.errors import InputError
from dereflect.separation import Separation


def separation(height: int, width: int, name: str, channels: int = 3) -> Separation:
    values = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    blended = images.Picture(values[..., :3], values[..., 3] if channels == 4 else None, format=name)
    pictures = dict.fromkeys(("blended", "transmission", "reflection"), blended)
    return Separation(pictures, 0.0, "model", "0", "whole", "cpu", 0.0, "photo")


@pytest.mark.parametrize("name", ["JPEG", "BMP", "PNG", "TIFF", "WEBP"])
def test_alpha_that_is_opaque_throughout_costs_nothing(name):
    values = np.full((9, 8, 4), 255, np.uint8)
    again = images.read(images.encode(images.from_array(values), name))
    assert (again.pixels == 255).all()
    assert again.alpha is None or (again.alpha == 255).all()


@pytest.mark.parametrize("name", ["JPEG", "BMP"])
def test_alpha_that_one_pixel_needs_is_refused_where_it_would_be_lost(name):
    values = np.full((9, 8, 4), 255, np.uint8)
    values[3, 4, 3] = 254
    with pytest.raises(InputError, match=f"has transparency, which {name} cannot hold"):
        images.encode(images.from_array(values), name)


@pytest.mark.parametrize(("name", "longest"), [("WEBP", 16_383), ("JPEG", 65_500)])
@pytest.mark.parametrize("upright", [False, True])
def test_pictures_beyond_a_format_are_refused_before_encoding(name, longest, upright):
    shape = (longest + 1, 4, 3) if upright else (4, longest + 1, 3)
    with pytest.raises(InputError, match=f"too large for {name}, which ends at {longest} pixels"):
        images.encode(images.from_array(np.zeros(shape, np.uint8)), name)
    fitting = (longest, 4, 3) if upright else (4, longest, 3)
    assert images.encode(images.from_array(np.zeros(fitting, np.uint8)), name)


def test_side_by_side_is_reduced_to_what_its_format_holds(tmp_path):
    result = separation(30, 6000, "WEBP")
    written = result.save(tmp_path, side_by_side=True)
    with Image.open(written["side_by_side"]) as image:
        assert image.size == (3 * 5461, 27)
    with Image.open(written["transmission"]) as image:
        assert image.size == (6000, 30)
    (note,) = result.losses(written)
    assert note == "the side-by-side picture is reduced: WEBP ends at 16383 pixels"


@pytest.mark.parametrize("channels", [3, 4])
def test_side_by_side_of_what_fits_is_not_reduced(tmp_path, channels):
    result = separation(16, 5461, "WEBP", channels)
    with Image.open(result.save(tmp_path, side_by_side=True)["side_by_side"]) as image:
        assert image.size == (16_383, 16)
    assert result.losses(["side_by_side"]) == ()


def test_nothing_is_written_where_one_layer_cannot_be(tmp_path):
    result = separation(4, 17_000, "PNG")
    with pytest.raises(InputError, match="too large for WEBP"):
        result.save(tmp_path, format="webp")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(40, 60), (40, 60, 3), (40, 60, 4)])
def test_reduced_copies_keep_depth_channels_and_level(dtype, shape):
    from dereflect.images.resizing import within

    values = np.random.default_rng(0).random(shape)
    values = values.astype(dtype) if dtype == np.float32 else (values * np.iinfo(dtype).max).astype(dtype)
    picture = images.from_array(values)
    small = within(picture, 30, 30)
    assert small.to_numpy().shape[:2] == (20, 30)
    assert small.pixels.dtype == dtype
    assert (small.alpha is None) == (picture.alpha is None)
    assert small.pixels.mean() / small.scale == pytest.approx(picture.pixels.mean() / picture.scale, abs=0.02)
    assert within(picture, 60, 40) is picture


def test_a_bitmap_of_another_space_is_written_in_srgb(wide_profile):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 40, 40)).save(buffer, "PNG", icc_profile=wide_profile)
    picture = images.read(buffer.getvalue())
    again = images.read(images.encode(picture, "BMP"))
    assert again.metadata.icc is None
    assert np.abs(again.pixels.astype(int) - picture.pixels).max() > 5

"""From layers to pictures: strength, mask, residual, and each row converted once."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dereflect import images
from dereflect.errors import InputError, MissingExtra
from dereflect.images.colour import ColourSpace
from dereflect.separator import Separator
from simple_methods import SHARE, Share, array, saved


class Fixed(Share):
    """Each layer is a fixed share of the photo."""

    def __init__(self, transmission: float, reflection: float) -> None:
        super().__init__()
        self.shares = transmission, reflection

    def forward(self, blended: Tensor, *, generator=None, progress=None) -> tuple[Tensor, Tensor]:
        return self.shares[0] * blended, self.shares[1] * blended


@pytest.fixture
def share() -> Separator:
    return Separator(Share(), dtype="float32")


def right_half() -> np.ndarray:
    mask = np.zeros((30, 40), np.uint8)
    mask[:, 20:] = 255
    return mask


def test_strength_and_mask_limit_the_removal(share):
    values = array()
    assert np.array_equal(share(values, strength=0.0).to_numpy()[0], values)
    assert not share(values, strength=0.0).to_numpy()[1].any()
    half = share(values, strength=0.5).to_numpy()[0]
    assert np.abs(half - values * (1 + SHARE) / 2).max() <= 0.5 + 1e-3
    masked = share(values, mask=right_half()).to_numpy()[0]
    assert np.array_equal(masked[:, :20], values[:, :20])
    assert np.array_equal(masked[:, 20:], share(values).to_numpy()[0][:, 20:])
    with pytest.raises(InputError, match="strength"):
        share(values, strength=1.5)


def test_negative_strength_leads_from_the_photo_to_the_reflection(share):
    values = array()
    full = share(values)
    assert np.array_equal(share(values, strength=-1.0).to_numpy()[0], full.to_numpy()[1])
    half = share(values, strength=-0.5).to_numpy()[0]
    assert np.abs(half - values * (1 + (1 - SHARE)) / 2).max() <= 0.5 + 1e-3
    masked = share(values, strength=-1.0, mask=right_half()).to_numpy()[0]
    assert np.array_equal(masked[:, :20], values[:, :20])
    assert np.array_equal(masked[:, 20:], full.to_numpy()[1][:, 20:])
    with pytest.raises(InputError, match="strength"):
        share(values, strength=-1.01)


def test_a_mask_of_the_picture_s_proportions_is_brought_to_its_size(share):
    values = array()
    mask = np.zeros((15, 20, 3), np.uint8)
    mask[:, 10:] = 255
    masked = share(values, mask=mask).to_numpy()[0]
    assert np.array_equal(masked[:, :19], values[:, :19])
    assert np.array_equal(masked[:, 21:], share(values).to_numpy()[0][:, 21:])
    with pytest.raises(InputError, match="mask: is 5 x 9 and the picture 40 x 30; their proportions"):
        share(values, mask=np.zeros((9, 5), np.uint8))
    with pytest.raises(InputError, match=r"^mask: is not a picture"):
        share(values, mask=b"no picture")


@pytest.mark.parametrize("argument", ["mask", "strokes"])
def test_a_drawing_that_needs_an_extra_is_named(share, monkeypatch, argument):
    monkeypatch.setitem(sys.modules, "pyvips", None)
    deep = images.encode(images.from_array(array(dtype=np.uint16)), "PNG")
    with pytest.raises(MissingExtra, match=f"^{argument}: 16-bit colour needs pyvips"):
        share(array(), **{argument: deep})


def test_residual_is_the_mean_difference_between_the_photo_and_the_sum_of_the_layers():
    values = array()
    residual = Separator(Fixed(0.9, 0.0), dtype="float32")(values).residual
    assert residual == pytest.approx(values.mean() / 255 * 0.1, rel=1e-4)


def test_residual_clips_the_sum_of_the_layers_at_white():
    values = np.full((30, 40, 3), 204, np.uint8)  # 0.8; both layers make 1.6, which no photo can show
    assert Separator(Fixed(1.0, 1.0), dtype="float32")(values).residual == pytest.approx(0.2, abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "reduced"),
    [({}, 0), ({"max_size": 60}, 40), ({"tile": 64}, 0)],
    ids=["whole", "fitted", "tiled"],
)
def test_each_row_of_the_photo_is_converted_to_srgb_once(settings, reduced, wide_profile, monkeypatch):
    converted = []
    to_srgb = ColourSpace.to_srgb

    def counted(self: ColourSpace, pixels: np.ndarray) -> np.ndarray:
        converted.append(len(pixels))
        return to_srgb(self, pixels)

    content = saved(Image.fromarray(array(200, 300)), "PNG", icc_profile=wide_profile)
    separator = Separator(Share(1.0, tile_overlap=16), dtype="float32", **settings)
    separator(content)  # the first look at a profile converts a few colours, too
    monkeypatch.setattr(ColourSpace, "to_srgb", counted)
    separator(content)
    assert sum(converted) == 200 + reduced


def test_tensors_of_a_wide_profile_are_srgb(wide_profile):
    values = array()
    content = saved(Image.fromarray(values), "PNG", icc_profile=wide_profile)
    expected = torch.from_numpy(ColourSpace(wide_profile).to_srgb(values).copy()).permute(2, 0, 1) / 255
    found = Separator(Share(1.0), dtype="float32").tensors(content)
    assert torch.allclose(found.transmission, expected, atol=1e-6)


def test_colours_that_srgb_cannot_hold_do_not_wrap_around_when_darkened(wide_profile):
    values = np.zeros((30, 40, 3), np.uint8)
    values[..., 1] = 255  # greener than sRGB can be: there, it has some red
    content = saved(Image.fromarray(values), "PNG", icc_profile=wide_profile)
    found = Separator(Share(0.5), dtype="float32")(content).to_numpy()[0]
    assert found[..., 0].max() == 0
    assert 50 < found[..., 1].min() < 240

"""Whether a reflection was found: what a model that leaves photos alone says of each."""

import numpy as np
import pytest
import torch
from torch import Tensor

from dereflect.inference.stripes import FAINTEST
from dereflect.methods.default.method import DefaultMethod
from dereflect.methods.default.network import DefaultConfig
from dereflect.separator import Separator
from simple_methods import Share, array

WAYS = pytest.mark.parametrize(
    "settings",
    [{}, {"max_size": 60}, {"tile": 64}, {"quality": "best"}],
    ids=["whole", "fitted", "tiled", "best"],
)


class Wary(Share):
    """Takes a share of what is bright on the mean, and leaves the rest as it is."""

    def __init__(self, share: float = 0.9, **traits) -> None:
        super().__init__(share, fades=True, **traits)

    def forward(self, blended: Tensor, *, generator=None, progress=None) -> tuple[Tensor, Tensor]:
        bright = blended.mean((1, 2, 3), keepdim=True) > 0.5
        removed = bright * (1 - self.share) * blended
        return blended - removed, removed


def grey(level: int, height: int = 150, width: int = 200) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


@WAYS
def test_a_photo_that_was_left_alone_is_told_from_one_that_was_not(settings):
    separator = Separator(Wary(), dtype="float32", **settings)
    dark = separator(grey(90))
    assert dark.reflection_found is False
    assert np.array_equal(dark.to_numpy()[0], grey(90))
    assert not dark.to_numpy()[1].any()
    assert separator(grey(200)).reflection_found is True


def test_a_reflection_in_one_tile_is_found():
    values = grey(40, 300, 300)
    values[-60:, -60:] = 250
    separator = Separator(Wary(), dtype="float32", tile=64)
    assert separator(values).reflection_found is True
    assert np.array_equal(separator(values).to_numpy()[0][:100], values[:100])


def test_a_change_that_hardly_any_pixel_shows_is_none():
    faint, plain = 1 - 0.9 * FAINTEST, 1 - 1.1 * FAINTEST
    white = grey(255)
    assert Separator(Wary(faint), dtype="float32")(white).reflection_found is False
    assert Separator(Wary(plain), dtype="float32")(white).reflection_found is True


def test_strength_and_mask_have_no_say():
    separator = Separator(Wary(), dtype="float32")
    analysis = separator.analyse(grey(200))
    assert separator.develop(analysis, strength=0.0).reflection_found is True
    assert separator.develop(analysis, mask=np.zeros((150, 200), np.uint8)).reflection_found is True


def test_each_photo_of_a_batch_has_its_own_answer():
    separator = Separator(Wary(), dtype="float32")
    results = separator.stream([grey(90), grey(200), grey(90)], batch_size=3)
    assert [result.reflection_found for result in results] == [False, True, False]


def test_a_model_that_never_leaves_a_photo_alone_does_not_say():
    assert Separator(Share(1.0), dtype="float32")(array()).reflection_found is None


def test_the_default_family_says_it():
    torch.manual_seed(0)
    method = DefaultMethod(DefaultConfig(widths=(8, 8, 8), head_width=8, encoder=""))
    untouched = Separator(method, dtype="float32")(grey(90, 64, 64))
    assert untouched.reflection_found is False
    assert np.array_equal(untouched.to_numpy()[0], grey(90, 64, 64))
    for bias in (layer.bias for layer in method.network.out):
        bias.data.fill_(0.5)
    assert Separator(method, dtype="float32")(grey(90, 64, 64)).reflection_found is True

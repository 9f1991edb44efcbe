"""What a person draws: how it is read, and that it moves the right pixels and no others."""

import numpy as np
import pytest
import torch

from dereflect.errors import InputError
from dereflect.images import from_array
from dereflect.inference.guided import guided, spread_strokes
from dereflect.inference.prepare import Layers
from dereflect.inference.strokes import Strokes, read_strokes
from dereflect.separator import Separator
from simple_methods import Share, array

RED, BLUE = (255, 0, 0, 255), (0, 0, 255, 255)


def drawing(height: int = 30, width: int = 40, **strokes: tuple[slice, slice]) -> np.ndarray:
    values = np.zeros((height, width, 4), np.uint8)
    for name, place in strokes.items():
        values[place] = {"red": RED, "blue": BLUE}[name]
    return values


def read(values, height: int = 30, width: int = 40) -> Strokes | None:
    return read_strokes(values, from_array(array(height, width)), 10**6)


def test_red_is_reflection_and_blue_is_scene():
    place, other = np.s_[3:6, 4:20], np.s_[20:24, 4:20]
    found = read(drawing(red=place, blue=other))
    assert found.reflection[place].all()
    assert found.reflection.sum() == found.reflection[place].size
    assert found.scene[other].all()
    assert found.scene.sum() == found.scene[other].size


def test_faint_and_soft_edges_are_cut_at_half_of_the_alpha():
    values = drawing(red=np.s_[3:6, 4:20])
    values[3, 4:20, 3] = 100
    values[4, 4:20, 3] = 150
    found = read(values)
    assert not found.reflection[3].any()
    assert found.reflection[4].any()


def test_nothing_drawn_is_nothing_said():
    assert read(None) is None
    assert read(drawing()) is None


def test_a_mixed_colour_where_strokes_cross_is_left_out():
    values = drawing(red=np.s_[3:9, 4:20])
    values[3, 4] = (128, 0, 128, 255)
    found = read(values)
    assert not found.reflection[3, 4]
    assert found.reflection.sum() == 6 * 16 - 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (drawing()[..., :3], "strokes: has no transparency"),
        (drawing(9, 30), "strokes: is 30 x 9 and the picture 40 x 30; their proportions"),
        (
            np.full((30, 40, 4), 255, np.uint8),
            "strokes: the colour #ffffff at 0, 15 means nothing; red marks",
        ),
        (b"no picture", "strokes: is not a picture"),
    ],
)
def test_strokes_that_cannot_be_used_are_refused_in_one_line(values, words):
    with pytest.raises(InputError, match=f"^{words}") as caught:
        read(values)
    assert "\n" not in str(caught.value)


def halves(height: int = 96, width: int = 128) -> tuple[torch.Tensor, Layers]:
    """A dark and a bright half; the estimate took 0.1 of light away everywhere and calls it reflection."""
    photo = torch.full((3, height, width), 0.3)
    photo[:, :, width // 2 :] = 0.7
    removed = torch.full_like(photo, 0.1)
    return photo, Layers(photo - removed, removed)


def strokes_at(kind: str, place: tuple[slice, slice], height: int = 96, width: int = 128) -> Strokes:
    empty = np.zeros((height, width), bool)
    drawn = empty.copy()
    drawn[place] = True
    return Strokes(drawn, empty) if kind == "reflection" else Strokes(empty, drawn)


def test_scene_gives_back_what_was_taken_and_stops_at_an_edge():
    photo, layers = halves()
    found = guided(photo, layers, strokes_at("scene", np.s_[46:50, 20:44]))
    assert (photo - found.transmission)[:, 48, 30].abs().max() < 0.02  # from 0.1: nearly all of it is back
    assert found.reflection[:, 48, 30].max() < 0.02
    assert (found.transmission - layers.transmission)[
        :, :, 68:
    ].abs().max() < 1 / 255  # past the edge: as it was


def test_reflection_takes_more_away_and_leaves_far_pixels():
    photo, layers = halves()
    found = guided(photo, layers, strokes_at("reflection", np.s_[46:50, 80:100]))
    assert (layers.transmission - found.transmission)[:, 48, 90].min() > 0.05
    assert (found.transmission - layers.transmission)[:, :, :60].abs().max() < 1 / 255


def test_light_above_its_surroundings_goes_where_no_reflection_was_found():
    photo = torch.full((3, 96, 128), 0.4)
    photo[:, 40:56, 50:70] = 0.8
    layers = Layers(photo.clone(), torch.zeros_like(photo))
    found = guided(photo, layers, strokes_at("reflection", np.s_[42:54, 52:68]))
    inside = found.transmission[:, 48, 60]
    assert inside.max() < 0.6  # from 0.8, towards 0.4
    assert torch.allclose(found.transmission[:, :, :20], photo[:, :, :20], atol=1 / 255)
    assert torch.allclose(found.transmission + found.reflection, photo, atol=1e-5)


def test_without_strokes_the_bytes_are_the_same():
    separator = Separator(Share(), dtype="float32")
    plain = separator(array()).to_numpy()
    for nothing in (None, drawing()):
        assert all(
            np.array_equal(a, b)
            for a, b in zip(plain, separator(array(), strokes=nothing).to_numpy(), strict=True)
        )


def test_strokes_are_taken_into_account_without_running_the_network_again():
    method = Share()
    separator = Separator(method, dtype="float32")
    values, strokes = array(), drawing(blue=np.s_[10:14, 5:30])
    analysis = separator.analyse(values)
    called = separator(values, strokes=strokes)
    runs = len(method.seen)
    developed = separator.develop(analysis, strokes=strokes)
    assert len(method.seen) == runs
    assert np.array_equal(developed.to_numpy()[0], called.to_numpy()[0])
    assert not np.array_equal(developed.to_numpy()[0], separator(values).to_numpy()[0])
    assert np.array_equal(
        np.rint(separator.tensors(values, strokes=strokes)[0].permute(1, 2, 0).numpy() * 255),
        called.to_numpy()[0],
    )


def test_strokes_in_a_fitted_photo_are_brought_to_its_size():
    separator = Separator(Share(), dtype="float32", max_size=60)
    values = np.full((90, 120, 3), 200, np.uint8)
    found = separator(values, strokes=drawing(45, 60, blue=np.s_[5:10, 5:55])).to_numpy()[0].astype(int)
    plain = separator(values).to_numpy()[0].astype(int)
    assert np.abs(found - values)[12:18, 20:100].max() < np.abs(plain - values).min() / 3


def test_tiles_and_strokes_are_refused():
    separator = Separator(Share(), dtype="float32", tile=32)
    with pytest.raises(InputError, match="strokes: need the picture whole or fitted"):
        separator(array(60, 80), strokes=drawing(60, 80, red=np.s_[5:10, 5:30]))


@pytest.mark.parametrize(("size", "copy"), [((864, 1152), (96, 128)), ((60, 20), (60, 20))])
def test_strokes_are_spread_over_a_small_copy_whatever_the_photo(size, copy):
    """What the time of a change depends on; `benchmarks/hints.py` measures it."""
    strokes = read(drawing(red=np.s_[5:10, 5:30]))
    assert spread_strokes(torch.rand(9, *size), strokes).shape == copy

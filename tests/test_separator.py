"""Where a person's picture meets a method: both layers come out at its size, depth and colours."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dereflect
from dereflect import images
from dereflect.errors import InputError, MissingExtra, ModelError
from dereflect.images.colour import colour_space
from dereflect.separator import Separator
from simple_methods import SHARE, Share, array, saved


@pytest.fixture
def share() -> Separator:
    return Separator(Share(), dtype="float32")


def test_every_kind_of_input_gives_the_same_layers(share, tmp_path):
    values = array()
    image = Image.fromarray(values)
    (tmp_path / "photo.png").write_bytes(saved(image, "PNG"))
    tensor = torch.from_numpy(values).permute(2, 0, 1)
    kinds = [
        str(tmp_path / "photo.png"),
        tmp_path / "photo.png",
        (tmp_path / "photo.png").read_bytes(),
        image,
        values,
        tensor,
        tensor[None],
    ]
    for kind in kinds:
        transmission, reflection = share(kind).to_numpy()
        assert np.array_equal(transmission, np.rint(values * SHARE).astype(np.uint8))
        assert np.array_equal(reflection, np.rint(values * (1 - SHARE)).astype(np.uint8))


def test_layers_have_the_input_s_size_and_mode(share):
    for mode in ("L", "LA", "RGB", "RGBA"):
        result = share(saved(Image.fromarray(array()).convert(mode), "PNG"))
        assert (result.transmission.size, result.transmission.mode) == ((40, 30), mode)
        assert (result.reflection.size, result.reflection.mode) == ((40, 30), mode)
        assert result.blended.mode == mode


def test_alpha_is_carried_over(share):
    values = array(channels=4)
    assert np.array_equal(share(values).to_numpy()[0][..., 3], values[..., 3])


def test_16_bit_colour_keeps_16_bits(share):
    values = array(dtype=np.uint16)
    result = share(images.encode(images.from_array(values), "PNG"))
    transmission, reflection = result.to_numpy()
    assert transmission.dtype == np.uint16
    assert np.abs(transmission.astype(int) - np.rint(values * SHARE).astype(int)).max() <= 1
    assert len(np.unique(reflection)) > 256
    assert result.transmission.mode == "RGB"  # Pillow has no 16-bit colour


def test_floats_stay_floats(share):
    values = array().astype(np.float32) / 255
    transmission, _ = share(values).to_numpy()
    assert transmission.dtype == np.float32
    assert np.abs(transmission - SHARE * values).max() < 1e-6


def test_tensors_are_float_layers_without_rounding(share):
    values = array()
    layers = share.tensors(values)
    assert layers.transmission.dtype == torch.float32
    assert layers.transmission.shape == (3, 30, 40)
    expected = torch.from_numpy(values).permute(2, 0, 1) / 255
    assert torch.allclose(layers.transmission, SHARE * expected, atol=1e-6)
    assert torch.allclose(layers.reflection, (1 - SHARE) * expected, atol=1e-6)
    assert share.tensors(array(channels=1)).transmission.shape == (1, 30, 40)
    half = share.tensors(values, strength=0.5).reflection
    assert torch.allclose(half, 0.5 * (1 - SHARE) * expected, atol=1e-6)


def test_return_tensors_still_works_with_a_warning(share):
    values = array()
    with pytest.warns(DeprecationWarning, match=r"call separator\.tensors"):
        layers = share(values, return_tensors="pt", strength=0.5)
    assert torch.equal(layers.transmission, share.tensors(values, strength=0.5).transmission)
    with pytest.raises(InputError, match="return_tensors"):
        share(values, return_tensors="np")


def test_grey_in_grey_out(share):
    values = array(channels=1)
    assert np.array_equal(share(values).to_numpy()[0], np.rint(values * SHARE).astype(np.uint8))


@pytest.mark.parametrize("settings", [{}, {"tile": 32}, {"max_size": 20}, {"quality": "best"}])
@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (33, 47), (1, 5000), (90, 110)])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_the_method_leaves_alone_comes_back_to_the_byte(settings, size, channels):
    separator = Separator(
        Share(1.0, size_multiple=16, min_size=32, working_size=100), dtype="float32", **settings
    )
    values = array(*size, channels)
    result = separator(values)
    transmission, reflection = result.to_numpy()
    assert np.array_equal(transmission, values)
    assert not reflection.any()
    assert result.residual < 1e-6


def test_colours_of_a_wide_profile_stay(wide_profile):
    profile = wide_profile
    values = array()
    content = saved(Image.fromarray(values), "PNG", icc_profile=profile)
    same = Separator(Share(1.0), dtype="float32")(content)
    assert np.array_equal(same.to_numpy()[0], values)  # also the colours that sRGB cannot hold
    assert same.pictures["transmission"].metadata.icc == profile
    space = colour_space(profile)
    # The network saw sRGB: its halving, seen in sRGB, is a halving of the photo seen in sRGB.
    inside = values // 4 + 96
    halved = Separator(Share(0.5), dtype="float32")(
        saved(Image.fromarray(inside), "PNG", icc_profile=profile)
    )
    seen = space.to_srgb(halved.to_numpy()[0]).astype(int)
    assert np.abs(seen - space.to_srgb(inside) * 0.5).max() <= 3


def test_orientation_is_applied_before_the_network_sees_the_photo():
    method = Share()
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(Image.fromarray(array(30, 40)), "JPEG", exif=exif.tobytes(), quality=95)
    result = Separator(method, dtype="float32")(content)
    assert method.seen == [(1, 3, 40, 30)]
    assert result.transmission.size == (30, 40)


@pytest.mark.parametrize("settings", [{}, {"max_size": 32}, {"tile": 32}], ids=["whole", "fitted", "tiled"])
def test_an_analysis_is_finished_often_with_the_bytes_of_a_call(settings):
    method = Share(tile_overlap=8)
    separator = Separator(method, dtype="float32", **settings)
    values = array(60, 90)
    analysis = separator.analyse(values)
    runs = len(method.seen)
    assert analysis.memory >= values.nbytes
    for call in ({}, {"strength": 0.3}, {"strength": -0.6, "mask": values[..., 0]}):
        finished = separator.develop(analysis, **call)
        if "tile" not in settings:
            assert len(method.seen) == runs  # the network did not run again
        called = separator(values, **call)
        runs = len(method.seen)
        for one, other in zip(finished.to_numpy(), called.to_numpy(), strict=True):
            assert np.array_equal(one, other)
        assert finished.residual == called.residual


def test_the_plan_is_told_and_followed():
    method = Share(working_size=64, size_multiple=8)
    result = Separator(method, dtype="float32")(array(100, 200))
    assert result.how == "fitted at 64 x 32"
    assert method.seen == [(1, 3, 32, 64)]
    assert result.transmission.size == (200, 100)
    method.seen.clear()
    assert Separator(method, dtype="float32", tile=64)(array(100, 200)).how == "tiles of 64 x 64"
    assert set(method.seen) == {(1, 3, 64, 64)}
    assert Separator(method, dtype="float32", tile="off")(array(100, 200)).how == "whole"
    assert Separator(Share(bytes_per_pixel=1000), dtype="float32", memory=1_000_000)(array(100, 200)).how == (
        "fitted at 45 x 22"
    )


def test_save_writes_both_layers_once(share, tmp_path):
    (tmp_path / "window.jpg").write_bytes(saved(Image.fromarray(array()), "JPEG"))
    result = share(tmp_path / "window.jpg")
    paths = result.save(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "window_reflection.jpg",
        "window_transmission.jpg",
    ]
    assert Image.open(paths["transmission"]).size == (40, 30)
    before = paths["transmission"].read_bytes()
    with pytest.raises(InputError, match="exists already"):
        result.save(tmp_path / "out")
    result.save(tmp_path / "out", overwrite=True)
    assert paths["transmission"].read_bytes() == before
    named = result.save(tmp_path / "png", layers="reflection", format="png", side_by_side=True)
    assert [path.name for path in named.values()] == ["window_reflection.png", "window_side_by_side.png"]
    assert Image.open(named["side_by_side"]).size == (120, 30)
    assert result.side_by_side().size == (120, 30)


def test_settings_that_cannot_be_followed_are_refused():
    for settings, words in (
        ({"device": "tpu"}, "device tpu: unknown"),
        ({"dtype": "int8"}, "dtype int8: unknown"),
        ({"device": "cpu", "dtype": "float16"}, "has no arithmetic"),
        ({"tile": "big"}, "auto, off, or a number"),
        ({"quality": "good"}, "fast or best"),
        ({"max_size": 0}, "number of pixels"),
    ):
        with pytest.raises(InputError, match=words):
            Separator(Share(), **settings)


def test_a_bad_argument_is_refused_before_the_network_runs():
    method = Share()
    separator = Separator(method, dtype="float32")
    for call in ({"strength": 1.5}, {"quality": "good"}, {"mask": array(9, 30)}):
        for run in (
            separator,
            separator.tensors,
            lambda image, **call: next(separator.stream([image], **call)),
        ):
            with pytest.raises(InputError, match=next(iter(call))):
                run(array(), **call)
    assert not method.seen


def test_pictures_and_masks_over_the_limit_are_refused_before_the_network_runs():
    method = Share()
    separator = Separator(method, dtype="float32", max_pixels=1200)
    large = saved(Image.fromarray(array(40, 31)), "PNG")
    with pytest.raises(InputError, match="over the limit"):
        separator(large)
    with pytest.raises(InputError, match="over the limit"):
        separator(array(), mask=large)
    assert not method.seen
    separator(saved(Image.fromarray(array()), "PNG"))


def test_a_call_may_choose_another_quality():
    method = Share()
    separator = Separator(method, dtype="float32")
    analysis = separator.analyse(array(), quality="best")
    assert len(method.seen) == 4
    best = separator(array(), quality="best").to_numpy()[0]
    assert np.array_equal(separator.develop(analysis).to_numpy()[0], best)
    method.seen.clear()
    separator(array())
    list(separator.stream([array()], quality="best"))
    assert len(method.seen) == 1 + 4


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="device cuda: cannot be used"):
        Separator(Share(), device="cuda")


def test_load_takes_a_folder_and_names_the_nearest_of_unknown_models(model_folder):
    separator = dereflect.load(model_folder, device="cpu", dtype="float32")
    assert separator.name == "tiny"
    result = separator(array(70, 90))
    assert result.transmission.size == (90, 70)
    assert result.version == dereflect.__version__
    with pytest.raises(ModelError, match="did you mean default"):
        dereflect.load("defualt")
    with pytest.raises(ModelError, match="one of default, dsit"):
        dereflect.load("nosuch")  # near to none


def test_what_may_be_a_hubs_says_that_it_is_no_path_here(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="'runs/mine' is no model's name and no path here; to ask the hub"):
        dereflect.load("runs/mine")


def test_same_input_same_bytes(model_folder):
    values = array(70, 90)
    first, second = (dereflect.load(model_folder, device="cpu")(values).to_numpy() for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_separate_is_load_and_call(model_folder, tmp_path: Path):
    result = dereflect.separate(array(), model=model_folder, device="cpu")
    assert isinstance(result, dereflect.Separation)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to look at its memory")
def test_memory_does_not_pile_up_over_photos_of_many_sizes(model_folder):
    def resident() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) * 1024

    separator = dereflect.load(model_folder, device="cpu")
    after = []
    for index in range(40):
        separator(array(200 + 31 * index % 170, 200 + 57 * index % 230))
        after.append(resident())
    assert after[-1] - after[9] < 100_000_000


def test_save_writes_nothing_where_one_of_the_files_is_there(share, tmp_path):
    result = share(array())
    (tmp_path / "picture_reflection.png").write_text("mine")
    with pytest.raises(InputError, match=r"picture_reflection\.png: exists already"):
        result.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["picture_reflection.png"]

import math

import numpy as np
import pytest
from safetensors.numpy import load_file
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from dereflect.errors import InputError
from dereflect.evaluation import metrics, protocol
from dmdnet_online import measure_online


def pictures(seed: int, height: int, width: int):
    random = np.random.default_rng(seed)
    target = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    noise = random.normal(0, 25, target.shape)
    return np.clip(target * 0.8 + noise, 0, 255).astype(np.uint8), target


@pytest.mark.parametrize(("seed", "height", "width"), [(1, 32, 47), (2, 7, 90), (3, 64, 11)])
def test_psnr_and_uniform_ssim_equal_scikit_image(seed, height, width):
    estimate, target = pictures(seed, height, width)
    assert metrics.psnr(estimate, target) == pytest.approx(
        peak_signal_noise_ratio(target, estimate, data_range=255), abs=1e-10
    )
    expected = structural_similarity(target, estimate, data_range=255, channel_axis=2)
    assert metrics.ssim(estimate, target) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(("seed", "height", "width"), [(4, 32, 47), (5, 11, 30)])
def test_gaussian_ssim_equals_scikit_image(seed, height, width):
    estimate, target = (p / 255 for p in pictures(seed, height, width))
    expected = structural_similarity(
        target,
        estimate,
        data_range=1,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert metrics.ssim(estimate, target, 1, window="gaussian") == pytest.approx(expected, abs=1e-10)
    assert expected != pytest.approx(metrics.ssim(estimate, target, 1), abs=1e-4)  # the conventions differ


def test_psnr_per_channel_is_the_mean_of_single_channels_not_the_joint_value():
    target = np.full((8, 8, 3), 100, np.uint8)
    estimate = target + np.array([1, 5, 25], np.uint8)
    single = [10 * math.log10(255**2 / error**2) for error in (1, 5, 25)]
    assert metrics.psnr_per_channel(estimate, target) == pytest.approx(np.mean(single))
    assert metrics.psnr(estimate, target) == pytest.approx(10 * math.log10(255**2 / ((1 + 25 + 625) / 3)))


def test_equal_pictures_are_perfect():
    _, target = pictures(6, 30, 30)
    assert metrics.psnr(target, target) == math.inf
    assert metrics.ssim(target, target) == pytest.approx(1)
    assert metrics.ncc(target, target) == pytest.approx(1)
    assert metrics.lmse(target, target) == pytest.approx(0, abs=1e-15)


def test_lmse_forgives_a_scale_and_ncc_a_scale_and_an_offset():
    _, target = pictures(7, 45, 61)
    assert metrics.lmse(target * 0.5, target) == pytest.approx(0, abs=1e-12)
    assert metrics.ncc(target * 0.5 + 9, target) == pytest.approx(1)
    assert metrics.lmse(np.zeros_like(target), target) == pytest.approx(1)
    assert metrics.ncc(255.0 - target, target) == pytest.approx(-1)


def test_what_cannot_be_measured_is_refused_by_name():
    small = np.zeros((6, 20, 3))
    with pytest.raises(InputError, match="20x6"):
        metrics.ssim(small, small)
    with pytest.raises(InputError, match="20x20"):
        metrics.lmse(small, small)
    with pytest.raises(InputError, match="is not that of the truth"):
        metrics.psnr(small, np.zeros((20, 6, 3)))


def aligned_psnr(estimate, target, rounding):
    """One straight line for each channel, by numpy's own fit."""
    channels = []
    for channel in range(3):
        x, y = estimate[..., channel].ravel(), target[..., channel].ravel()
        gain, offset = np.polyfit(x.astype(np.float64), y.astype(np.float64), 1)
        channels.append((gain * estimate[..., channel] + offset).clip(0, 1) * 255)
    found = rounding(np.stack(channels, axis=-1))
    return 10 * np.log10(255**2 / np.mean((found - rounding(target * 255.0)) ** 2))


@pytest.mark.parametrize(
    ("name", "rounding"), [("plain", np.rint), ("dmdnet", np.floor), ("diffrs", np.floor)]
)
def test_aligned_psnr_is_that_of_the_best_line_of_each_channel(name, rounding):
    random = np.random.default_rng(8)
    target = random.random((23, 31, 3)).astype(np.float32)
    estimate = np.clip(target * [0.3, 0.6, 1.5] + [0.4, 0.1, -0.3], 0, 1)  # one channel is clipped
    estimate = np.clip(estimate + random.normal(0, 0.02, target.shape), 0, 1).astype(np.float32)
    measured = protocol.PROTOCOLS[name].measure(estimate, target)
    assert measured["psnr_aligned"] == pytest.approx(aligned_psnr(estimate, target, rounding), abs=0.01)
    assert measured["psnr_aligned"] > measured["psnr"] + 3


def test_aligned_psnr_forgives_brightness_and_contrast_and_no_more():
    _, target = pictures(9, 40, 50)
    plain, ytmt = (protocol.PROTOCOLS[name] for name in ("plain", "ytmt"))
    dim = (target * np.array([0.2, 0.4, 0.5]) / 255 + 0.1).astype(np.float32)
    assert plain.measure(dim, target)["psnr"] < 20
    assert plain.measure(dim, target)["psnr_aligned"] == math.inf  # nothing is left after rounding
    assert ytmt.measure(dim, target)["psnr_aligned"] > 100
    mirrored = plain.measure(np.ascontiguousarray(target[:, ::-1]), target)
    deviation = np.sqrt(target.astype(np.float64).var((0, 1)).mean())
    assert mirrored["psnr_aligned"] == pytest.approx(20 * math.log10(255 / deviation), abs=0.1)
    black = plain.measure(np.zeros_like(target), target)
    assert black["psnr_aligned"] == pytest.approx(20 * math.log10(255 / deviation), abs=0.02)


def test_rounding_rules():
    values = np.array([-0.5, 0.0, 0.5, 254.6 / 255, 1.0, 7.0])
    assert protocol.to_levels(values, "truncated").tolist() == [0, 0, 127, 254, 255, 255]
    assert protocol.to_levels(values, "rounded").tolist() == [0, 0, 128, 255, 255, 255]
    assert protocol.to_levels(values, "float")[3] == pytest.approx(254.6)


def test_ytmt_numbers_are_the_recorded_ones(pytestconfig):
    file = load_file(pytestconfig.getoption("golden_dir") / "ytmt" / "metrics.safetensors")
    used = set()

    def take(key):
        used.add(key)
        return file[key]

    for case in {key.split(".")[0] for key in file}:
        estimate, target = (take(f"{case}.{name}")[0].transpose(1, 2, 0) for name in ("estimate", "target"))
        measured = protocol.PROTOCOLS["ytmt"].measure(estimate, target)
        for name in ("psnr", "ssim", "ncc", "lmse"):
            assert measured[name] == pytest.approx(float(take(f"{case}.{name.upper()}_f64")), abs=1e-5)
        x, y = protocol.to_levels(estimate, "float"), protocol.to_levels(target, "float")
        for name in ("psnr", "ssim"):
            each = metrics.channelwise(getattr(metrics, name), x, y)
            assert each == pytest.approx(take(f"{case}.{name}_per_channel_f64").tolist(), abs=1e-5)
        assert (protocol.to_levels(estimate, "truncated") == take(f"{case}.saved_uint8")).all()
    assert used == set(file)


def test_dmdnet_numbers_are_the_recorded_ones(pytestconfig):
    file = load_file(pytestconfig.getoption("golden_dir") / "dmdnet" / "metrics.safetensors")
    used = set()

    def take(key):
        used.add(key)
        return file[key]

    names = ("psnr", "ssim", "psnr_y", "ssim_y")
    for case in {key.split(".")[0] for key in file}:
        truth = take(f"{case}.gt_rgb")
        offline = protocol.PROTOCOLS["dmdnet"].measure(take(f"{case}.pred_rgb"), truth)
        assert [offline[n] for n in names] == pytest.approx(
            take(f"{case}.eval_psnr_ssim_psnry_ssimy"), abs=1e-6
        )
        online = measure_online(take(f"{case}.pred_float_rgb"), truth)
        assert [online[n] for n in names] == pytest.approx(
            take(f"{case}.online_psnr_ssim_psnry_ssimy"), abs=1e-6
        )
    assert used == set(file)

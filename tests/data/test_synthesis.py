import json
from dataclasses import asdict, astuple

import numpy as np
import pytest
from safetensors.numpy import load_file

from dereflect.data.synthesis import ceilnet, dsrnet, screen, zhang
from dereflect.data.synthesis.kernels import convolve, gaussian_taps


class Fixture:
    """A fixture file that knows which of its entries were looked at."""

    def __init__(self, path):
        self.content, self.used = load_file(path), set()

    def __call__(self, key):
        self.used.add(key)
        return self.content[key]

    def cases(self, start):
        return sorted({".".join(key.split(".")[:-1]) for key in self.content if key.startswith(start)})


def check_triplet(triplet, fixture, case):
    for picture, name in zip(astuple(triplet), ("out_M", "out_T", "out_R"), strict=True):
        assert np.abs(picture - fixture(f"{case}.{name}")).max() <= 1e-6, (case, name)


def test_ceilnet_and_zhang_rules_give_the_recorded_triplets(pytestconfig):
    fixture = Fixture(pytestconfig.getoption("golden_dir") / "ytmt" / "synthesis.safetensors")
    for case in fixture.cases("ceil."):
        sigma, gamma = fixture(f"{case}.sigma_gamma_f64").tolist()
        taps = fixture(f"{case}.kernel1d_f64")
        assert gaussian_taps(len(taps), sigma) == pytest.approx(taps, abs=1e-12)
        draws = ceilnet.Draws(len(taps), sigma, gamma)
        triplet = ceilnet.mix(fixture(f"{case}.B") / 255, fixture(f"{case}.R") / 255, draws)
        check_triplet(triplet, fixture, case)
    for case in fixture.cases("zhang."):
        sigma, darkening, right, down, scale = fixture(f"{case}.draws_f64").tolist()
        draws = zhang.Draws(sigma, darkening, int(right), int(down), scale)
        triplet = zhang.mix(fixture(f"{case}.B") / 255, fixture(f"{case}.R") / 255, draws)
        truth = fixture(f"{case}.out_R")
        # The closing root magnifies a rounding of the linear value by the root's slope, without bound towards
        # black.
        slope = np.maximum(truth, 1e-4) ** (1 - zhang.POWER) / zhang.POWER
        assert (np.abs(triplet.reflection - truth) <= 1e-6 + 6e-8 * slope).all()
        assert np.abs(triplet.blended - fixture(f"{case}.out_M")).max() <= 1e-6
        assert np.abs(triplet.transmission - fixture(f"{case}.out_T")).max() <= 1e-6
    assert fixture.used == set(fixture.content)


def test_dsrnet_rule_draws_and_mixes_as_recorded(pytestconfig):
    folder = pytestconfig.getoption("golden_dir") / "dmdnet"
    fixture = Fixture(folder / "synthesis.safetensors")
    seeds = json.loads((folder / "manifest.json").read_text())["synthesis"]["cases"]
    cases = [case for case in fixture.cases("") if case.isdigit()]
    assert cases
    for case in cases:
        draws = dsrnet.draw(np.random.RandomState(seeds[case]["numpy_seed"]))
        assert list(astuple(draws))[:4] == pytest.approx(fixture(f"{case}.draws").tolist(), abs=1e-12)
        triplet = dsrnet.mix(fixture(f"{case}.t_u8") / 255, fixture(f"{case}.r_u8") / 255, draws)
        for picture, name in zip(astuple(triplet), "ITR", strict=True):
            assert np.abs(picture - fixture(f"{case}.{name}")).max() <= 1e-6


def test_zero_padding_darkens_the_border_and_reflection_does_not():
    white = np.ones((20, 20, 3))
    taps = gaussian_taps(11, 3)
    assert convolve(white, taps)[0, 0, 0] < 0.5
    assert convolve(white, taps, "reflect") == pytest.approx(1)


@pytest.mark.parametrize("rule", [ceilnet, dsrnet, screen, zhang])
def test_same_seed_same_triplet_within_range(rule):
    random = np.random.default_rng(5)
    transmission, reflection = random.uniform(size=(2, 40, 33, 3))
    triplets = [
        rule.mix(transmission, reflection, rule.draw(np.random.default_rng(8), 40, 33)) for _ in range(2)
    ]
    for first, second in zip(astuple(triplets[0]), astuple(triplets[1]), strict=True):
        assert first.dtype == np.float32
        assert (first == second).all()
        assert first.min() >= 0
        assert first.max() <= 1
    assert rule.draw(np.random.default_rng(9), 40, 33) != rule.draw(np.random.default_rng(8), 40, 33)
    assert np.abs(triplets[0].transmission - transmission).max() < 1e-7


def test_a_black_reflection_changes_nothing_but_the_glass_share():
    scene = np.random.default_rng(1).uniform(size=(30, 30, 3))
    black = np.zeros_like(scene)
    assert np.abs(screen.mix(scene, black, screen.Draws(2.0, 0.5)).blended - scene).max() < 1e-6
    assert np.abs(ceilnet.mix(scene, black, ceilnet.Draws(11, 3.0, 1.3)).blended - scene).max() < 1e-6
    dimmed = dsrnet.mix(scene, black, dsrnet.Draws(7, 3.0, 0.9, 0.5)).blended
    assert np.abs(dimmed - 0.9 * scene).max() < 1e-6


def test_draws_can_be_written_down_and_read_back():
    draws = zhang.draw(np.random.default_rng(3), 100, 200)
    assert zhang.Draws(**json.loads(json.dumps(asdict(draws)))) == draws


def test_zhang_takes_pictures_larger_than_its_vignette():
    big = np.random.default_rng(2).uniform(size=(600, 700, 3))
    triplet = zhang.mix(big, big, zhang.draw(np.random.default_rng(1), 600, 700))
    assert triplet.blended.shape == big.shape

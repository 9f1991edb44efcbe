import math
from dataclasses import astuple, replace

import numpy as np
import pytest

from dereflect.data.synthesis import physical
from dereflect.data.synthesis.kernels import convolve_kernel, disc, shift_kernel


@pytest.fixture
def draws():
    return physical.draw(np.random.default_rng(3))


def pictures(height=40, width=60):
    return np.random.default_rng(1).uniform(0.05, 0.9, size=(2, height, width, 3))


def test_fresnel_at_angles_known_from_optics():
    n = 1.5
    straight = physical.fresnel(np.array([1.0]), n)
    assert [float(part[0]) for part in straight] == pytest.approx([0.04, 0.04])  # ((n - 1) / (n + 1))^2
    brewster = math.cos(math.atan(n))
    assert physical.fresnel(np.array([brewster]), n)[1][0] == pytest.approx(0, abs=1e-15)
    assert physical.fresnel(np.array([brewster]), n)[0][0] == pytest.approx(((n**2 - 1) / (n**2 + 1)) ** 2)
    assert all(part[0] == pytest.approx(1) for part in physical.fresnel(np.array([1e-12]), n))


def test_a_pane_without_absorption_loses_only_the_later_bounces(draws):
    clear = replace(draws, absorption=(0.0, 0.0, 0.0), refractive_index=1.5)
    passed, front, back = physical.pane(np.array([[1.0]]), clear)
    assert passed[0, 0, 0] == pytest.approx(0.96**2 / (1 - 0.04**2))
    assert 1 - (passed + front + back)[0, 0, 0] == pytest.approx(0.96**2 * 0.04**3, rel=0.01)
    tinted = physical.pane(np.array([[1.0]]), replace(clear, absorption=(0.01, 0.0, 0.01), thickness=6.0))
    assert tinted[0][0, 0, 0] < passed[0, 0, 0]
    assert tinted[0][0, 0, 1] == pytest.approx(passed[0, 0, 1])
    assert tinted[2][0, 0, 0] == pytest.approx(back[0, 0, 0] * math.exp(-0.12))


def test_ghost_shift_agrees_with_tracing_the_two_rays(draws):
    glass = replace(
        draws, tilt=45.0, tilt_direction=90.0, refractive_index=1.5, thickness=6.0, mirror_distance=1000
    )
    a, n, d = math.radians(45), 1.5, 6.0
    b = math.asin(math.sin(a) / n)
    along_the_pane = 2 * d * math.tan(b)  # where the inner ray comes out again
    apart = along_the_pane * math.cos(a)  # distance between the parallel rays
    right, down = physical.ghost_shift(glass, 800)
    assert (right, down) == pytest.approx((0, 800 * apart / 1000), abs=1e-9)
    assert physical.ghost_shift(replace(glass, tilt=0.0), 800) == pytest.approx((0, 0))


def test_blur_is_that_of_a_thin_lens(draws):
    lens = replace(
        draws, focal_length=50.0, f_number=2.0, sensor_width=36.0, scene_distance=5000, mirror_distance=1000
    )
    behind = [1 / (1 / 50 - 1 / distance) for distance in (5000, 1000)]  # image distances
    diameter = (50 / 2) * abs(behind[1] - behind[0]) / behind[1]
    assert physical.blur_radius(lens, 1000) == pytest.approx(diameter / 2 / 36 * 1000)
    assert physical.blur_radius(replace(lens, mirror_distance=5000), 1000) == 0


def test_kernels_keep_the_light_and_shift_by_fractions():
    for radius in (0, 0.3, 1, 4.6):
        assert disc(radius).sum() == pytest.approx(1)
    assert disc(0).max() == 1
    white = np.ones((9, 12, 3))
    assert convolve_kernel(white, disc(3)) == pytest.approx(1)
    dot = np.zeros((11, 13, 1))
    dot[5, 6] = 1
    moved = convolve_kernel(dot, shift_kernel(2.25, -1.5))[..., 0]
    assert moved[3:5, 8] == pytest.approx([0.375, 0.375])
    assert moved[3:5, 9] == pytest.approx([0.125, 0.125])


def test_light_and_display_values_are_inverse():
    values = np.linspace(0, 1, 50)
    assert physical.from_light(physical.to_light(values)) == pytest.approx(values, abs=1e-12)
    assert physical.to_light(np.array([0.5]))[0] == pytest.approx(0.21404, abs=1e-5)
    toned = physical.tone(np.linspace(0, 1, 500), 0.6)
    assert (np.diff(toned) > 0).all()
    assert toned[[0, -1]] == pytest.approx([0, 1], abs=1e-9)


def test_without_mirrored_light_the_glass_only_dims(draws):
    scene, _ = pictures()
    quiet = replace(draws, shot_noise=0.0, read_noise=0.0, contrast=0.0, exposure_stops=-2.0, tilt=0.0)
    triplet = physical.mix(scene, np.zeros_like(scene), quiet)
    assert triplet.reflection.max() == 0
    ratio = physical.to_light(triplet.blended) / physical.to_light(triplet.transmission)
    expected = physical.pane(
        physical.incidence(40, 60, quiet.focal_length / quiet.sensor_width * 60, quiet), quiet
    )[0]
    inside = triplet.transmission < 0.99
    assert ratio[inside] == pytest.approx(expected[inside], rel=1e-4)


def test_light_adds_up_before_the_tone_curve(draws):
    scene, mirrored = pictures()
    quiet = replace(draws, shot_noise=0.0, read_noise=0.0, contrast=0.0, exposure_stops=-3.0)
    triplet = physical.mix(scene, mirrored, quiet)
    light = [physical.to_light(picture) for picture in astuple(triplet)]
    passed = physical.pane(
        physical.incidence(40, 60, quiet.focal_length / quiet.sensor_width * 60, quiet), quiet
    )[0]
    assert light[0] == pytest.approx(passed * light[1] + light[2], abs=1e-5)


@pytest.mark.parametrize("preset", ["day", "night"])
def test_presets_draw_repeatably_and_stay_in_range(preset):
    scene, mirrored = pictures(33, 47)
    for seed in range(8):
        chosen = physical.draw(np.random.default_rng(seed), preset=preset)
        assert chosen == physical.draw(np.random.default_rng(seed), preset=preset)
        first, second = (physical.mix(scene, mirrored, chosen) for _ in range(2))
        for a, b in zip(astuple(first), astuple(second), strict=True):
            assert (a == b).all()
            assert a.min() >= 0
            assert a.max() <= 1
    other = physical.mix(scene, mirrored, replace(chosen, noise_seed=chosen.noise_seed + 1))
    assert (other.blended != first.blended).any()
    assert (other.transmission == first.transmission).all()

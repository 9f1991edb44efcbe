import numpy as np
import pytest
import torch

from dereflect.data.glass import (
    GlassMix,
    clipped_subtraction,
    gaussian_blur,
    linear_light,
    photograph,
    residual_reflection,
    screen,
)


@pytest.fixture
def layers() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(3, 40, 52), torch.rand(3, 40, 52)


def test_the_same_draws_give_the_same_photo(layers: tuple[torch.Tensor, torch.Tensor]) -> None:
    one, two = (photograph(*layers, GlassMix(), np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(one.blended, two.blended)


def test_every_draw_stays_in_range_and_keeps_its_shape(layers: tuple[torch.Tensor, torch.Tensor]) -> None:
    for seed in range(60):
        glass = photograph(*layers, GlassMix(), np.random.default_rng(seed))
        for layer in (glass.blended, glass.transmission, glass.reflection):
            assert layer.shape == (3, 40, 52)
            assert torch.isfinite(layer).all()
            assert layer.min() >= 0
            assert layer.max() <= 1


def test_without_glass_nothing_changes(layers: tuple[torch.Tensor, torch.Tensor]) -> None:
    glass = photograph(*layers, GlassMix(identity=1.0), np.random.default_rng(0))
    assert torch.equal(glass.blended, layers[0])
    assert glass.reflection.abs().max() == 0


def test_clipped_subtraction_adds_where_nothing_overflows() -> None:
    scene, mirrored = torch.full((3, 4, 4), 0.5), torch.full((3, 4, 4), 0.25)
    glass = clipped_subtraction(scene, mirrored, 1.3)
    assert torch.equal(glass.blended, scene + mirrored)


def test_clipped_subtraction_lowers_the_reflection_by_the_mean_excess() -> None:
    scene, mirrored = torch.full((3, 4, 4), 0.9), torch.full((3, 4, 4), 0.5)
    glass = clipped_subtraction(scene, mirrored, 1.1)
    torch.testing.assert_close(glass.reflection, torch.full((3, 4, 4), 0.5 - 1.1 * 0.4))
    torch.testing.assert_close(glass.blended, (scene + glass.reflection).clamp(0, 1))


def test_screen_of_white_is_white() -> None:
    glass = screen(torch.ones(3, 4, 4), torch.rand(3, 4, 4), 1.0, 0.7)
    torch.testing.assert_close(glass.blended, torch.ones(3, 4, 4))


def test_linear_light_can_be_undone() -> None:
    scene, mirrored = 0.6 * torch.rand(3, 8, 8), 0.6 * torch.rand(3, 8, 8)
    glass = linear_light(scene, mirrored, 1.0, 0.3)
    torch.testing.assert_close(
        residual_reflection(glass.blended, scene), glass.reflection, atol=2e-3, rtol=1e-3
    )


def test_blur_keeps_a_constant_picture_and_spreads_a_point() -> None:
    constant = torch.full((3, 20, 20), 0.3)
    torch.testing.assert_close(gaussian_blur(constant, 3.0), constant)
    point = torch.zeros(3, 21, 21)
    point[:, 10, 10] = 1
    blurred = gaussian_blur(point, 2.0)
    torch.testing.assert_close(blurred.sum(), torch.tensor(3.0))
    assert blurred[0, 10, 10] == blurred.max() < 0.05

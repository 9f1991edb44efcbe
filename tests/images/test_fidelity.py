import math

import numpy as np
import pytest
import torch

from dereflect.errors import InputError
from dereflect.images.fidelity import align, psnr, unit_psnr
from dereflect.images.tensors import to_tensor


def test_psnr_of_arrays_and_tensors():
    a, b = np.full((4, 5, 3), 100, np.uint8), np.full((4, 5, 3), 110, np.uint8)
    assert psnr(a, b) == pytest.approx(10 * math.log10(255**2 / 100))
    assert unit_psnr(to_tensor(a), to_tensor(b)) == pytest.approx(psnr(a, b), abs=1e-4)
    assert psnr(a, a) == math.inf
    assert unit_psnr(to_tensor(a), to_tensor(a)) == 120
    with pytest.raises(InputError, match="is not that of the truth"):
        psnr(a, b[1:])


def test_alignment_equals_least_squares_by_channel():
    generator = np.random.default_rng(0)
    estimate = generator.random((13, 17, 3))
    target = estimate * [0.5, -0.2, 2] + [0.1, 0.4, -0.7] + 0.1 * generator.random((13, 17, 3))
    found = align(estimate, target)
    for channel in range(3):
        x, y = estimate[..., channel].ravel(), target[..., channel].ravel()
        solution = np.linalg.lstsq(np.stack([x, np.ones_like(x)], axis=1), y, rcond=None)[0]
        expected = solution[0] * x + solution[1]
        np.testing.assert_allclose(found[..., channel].ravel(), expected, atol=1e-12)
        alone = align(x.reshape(13, 17), y.reshape(13, 17))
        np.testing.assert_allclose(alone.ravel(), expected, atol=1e-12)


def test_alignment_of_a_constant_gives_the_mean():
    target = np.random.default_rng(0).random((6, 7, 3))
    found = align(np.full((6, 7, 3), 0.25), target)
    np.testing.assert_allclose(found, np.broadcast_to(target.mean((0, 1)), found.shape))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_pixels_of_any_depth_become_floats(dtype):
    white = 1.0 if dtype == np.float32 else np.iinfo(dtype).max
    pixels = np.zeros((2, 3, 3), dtype)
    pixels[1, 2, 0] = white
    tensor = to_tensor(pixels)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()
    assert tensor.shape == (3, 2, 3)
    assert tensor[0, 1, 2] == 1 == tensor.sum()

"""Multi-scale structural similarity (Wang, Simoncelli and Bovik, Asilomar 2003), with the field's numbers."""

from __future__ import annotations

import numpy as np

from dereflect.errors import InputError
from dereflect.evaluation.metrics import channelwise, windowed
from dereflect.images.picture import Array

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
SIDE, SIGMA = 11, 1.5
SHORTEST = (SIDE - 1) * 2 ** (len(WEIGHTS) - 1) + 1


def ms_ssim(estimate: Array, target: Array, data_range: float = 255.0) -> float:
    """Mean over channels of the product of five scales' similarities, each to its weight.

    Window 11x11, Gaussian of deviation 1.5, without padding. Between scales both pictures are halved by 2x2
    means; an odd size is first extended by repeating its first row and column. Negative factors count as 0.

    Raises:
        InputError: a side is below 161 pixels.
    """
    if min(estimate.shape[:2]) < SHORTEST:
        height, width = estimate.shape[:2]
        raise InputError(f"{width}x{height}", f"MS-SSIM needs pictures of at least {SHORTEST} pixels a side")
    return float(np.mean(channelwise(_of_channel, estimate, target, data_range)))


def _of_channel(x: Array, y: Array, data_range: float) -> float:
    product = 1.0
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            x, y = _halved(x), _halved(y)
        contrast, similarity = _terms(x, y, data_range)
        factor = similarity if scale == len(WEIGHTS) - 1 else contrast
        product *= max(factor, 0.0) ** weight
    return product


def _terms(x: Array, y: Array, data_range: float) -> tuple[float, float]:
    """Means of the contrast-and-structure term and of the whole similarity."""
    taps = np.arange(SIDE) - SIDE // 2
    weights = np.exp(-0.5 * (taps / SIGMA) ** 2)
    weights /= weights.sum()
    mean_x, mean_y = windowed(x, weights), windowed(y, weights)
    var_x, var_y = windowed(x * x, weights) - mean_x**2, windowed(y * y, weights) - mean_y**2
    covariance = windowed(x * y, weights) - mean_x * mean_y
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    contrast = (2 * covariance + c2) / (var_x + var_y + c2)
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return float(contrast.mean()), float((luminance * contrast).mean())


def _halved(x: Array) -> Array:
    if x.shape[0] % 2 or x.shape[1] % 2:
        x = np.pad(x, ((1, 0), (1, 0)), mode="edge")
    height, width = x.shape[0] // 2 * 2, x.shape[1] // 2 * 2
    return x[:height, :width].reshape(height // 2, 2, width // 2, 2).mean((1, 3))

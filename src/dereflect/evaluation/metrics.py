"""Full-reference measures as pure functions of two pictures.

Every function takes two arrays of the same shape, (H, W) or (H, W, C), of any number type, computes in
float64 and returns one float. `data_range` is the distance between black and white in the pictures' own units
(255 for 8-bit values, 1 for values in [0, 1]). Which convention a published number follows is said in
`dereflect.evaluation.protocol`.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from dereflect.errors import UNNAMED, InputError
from dereflect.images.fidelity import pair
from dereflect.images.fidelity import psnr as psnr
from dereflect.images.picture import Array

Window = Literal["uniform", "gaussian"]


def psnr_per_channel(estimate: Array, target: Array, data_range: float = 255.0) -> float:
    """Mean over the channels of each channel's own PSNR, as the YTMT evaluation does it."""
    return float(np.mean(channelwise(psnr, estimate, target, data_range)))


def ssim(
    estimate: Array,
    target: Array,
    data_range: float = 255.0,
    window: Window = "uniform",
    size: int | None = None,
) -> float:
    """Structural similarity (Wang et al., IEEE TIP 2004), mean over positions and then over channels.

    Args:
        window: ``"uniform"`` is what this field's scripts use (scikit-image's default: flat 7x7 window,
            sample covariance N/(N-1)); ``"gaussian"`` is that of the SSIM paper (11x11, sigma 1.5,
            population covariance).
        size: side of the window, odd; 7 and 11 by default. The Gaussian keeps sigma 1.5.

    Raises:
        InputError: a side of the pictures is shorter than the window.
    """
    return float(np.mean(channelwise(_ssim_of_channel, estimate, target, data_range, window, size)))


def channelwise(measure: Any, estimate: Array, target: Array, *arguments: Any) -> list[float]:
    """Apply a measure to each channel by itself; a picture without a channel axis counts as one channel."""
    x, y = pair(estimate, target)
    if x.ndim == 2:
        return [measure(x, y, *arguments)]
    return [measure(x[..., c], y[..., c], *arguments) for c in range(x.shape[-1])]


def _ssim_of_channel(x: Array, y: Array, data_range: float, window: Window, size: int | None) -> float:
    if window == "uniform":
        side = size or 7
        weights = np.full(side, 1 / side)
        covariance_scale = side * side / (side * side - 1)
    else:
        side = size or 11
        taps = np.arange(side) - side // 2
        weights = np.exp(-0.5 * (taps / 1.5) ** 2)
        weights /= weights.sum()
        covariance_scale = 1.0
    if min(x.shape) < side:
        raise InputError(UNNAMED, f"SSIM needs at least {side}x{side} pixels, not {x.shape[1]}x{x.shape[0]}")
    mean_x, mean_y = windowed(x, weights), windowed(y, weights)
    var_x = covariance_scale * (windowed(x * x, weights) - mean_x**2)
    var_y = covariance_scale * (windowed(y * y, weights) - mean_y**2)
    covariance = covariance_scale * (windowed(x * y, weights) - mean_x * mean_y)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    )
    return float(similarity.mean())


def windowed(x: Array, weights: Array) -> Array:
    """Weighted means over all windows wholly inside the picture; the outer product of `weights` weighs."""
    height, width = x.shape[0] - len(weights) + 1, x.shape[1] - len(weights) + 1
    rows = np.zeros((height, x.shape[1]))
    for offset, weight in enumerate(weights):
        rows += weight * x[offset : offset + height]
    result = np.zeros((height, width))
    for offset, weight in enumerate(weights):
        result += weight * rows[:, offset : offset + width]
    return result


def ncc(estimate: Array, target: Array) -> float:
    """Normalised cross-correlation of the whole array: 1 where only contrast and brightness differ."""
    x, y = pair(estimate, target)
    x, y = x - x.mean(), y - y.mean()
    scale = math.sqrt(float((x * x).sum()) * float((y * y).sum()))
    return float((x * y).sum()) / scale if scale > 0 else 0.0


def lmse(estimate: Array, target: Array, side: int = 20, stride: int = 10) -> float:
    """Local mean squared error: each window's error after its best brightness scale.

    Grosse et al., ICCV 2009.

    Windows of `side` pixels every `stride` pixels, channel by channel. In each, the estimate is scaled by
    sum(y x) / sum(x^2), or by 0 where sum(x^2) <= 1e-5. Squared errors of all windows are summed and divided
    by the target's energy in the same windows, so 0 is perfect and 1 is as good as black.

    Raises:
        InputError: a side of the pictures is shorter than the window.
    """
    x, y = pair(estimate, target)
    if min(x.shape[:2]) < side:
        raise InputError(UNNAMED, f"LMSE needs at least {side}x{side} pixels, not {x.shape[1]}x{x.shape[0]}")
    error = energy = 0.0
    for top in range(0, x.shape[0] - side + 1, stride):
        for left in range(0, x.shape[1] - side + 1, stride):
            a, b = (z[top : top + side, left : left + side].reshape(side * side, -1) for z in (x, y))
            own = (a * a).sum(0)
            scale = np.where(own > 1e-5, (a * b).sum(0) / np.where(own > 1e-5, own, 1), 0)
            error += float(((b - scale * a) ** 2).sum())
            energy += float((b * b).sum())
    return error / energy if energy > 0 else 0.0


def luma_full_range(picture: Array) -> Array:
    """8-bit luma as in OpenCV's YCrCb (0..255): BT.601 in 14-bit fixed point, rounded; uint8 out."""
    red, green, blue = (picture[..., c].astype(np.int64) for c in range(3))
    return ((4899 * red + 9617 * green + 1868 * blue + (1 << 13)) >> 14).astype(np.uint8)

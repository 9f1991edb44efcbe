"""Blurring kernels and convolutions that the synthesis rules share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def gaussian_taps(size: int, sigma: float) -> Floats:
    """(size,) Gaussian centred on the middle, exp(-x^2 / (2 sigma^2)), sum 1."""
    x = np.arange(size, dtype=np.float64) - (size - 1) / 2
    weights = np.exp(-(x**2) / (2 * sigma**2))
    return weights / weights.sum()


def convolve(picture: Floats, taps: Floats, border: str = "constant") -> Floats:
    """Convolve (H, W, C) with the outer product of odd-sized `taps`, keeping the size.

    Args:
        border: how the picture goes on beyond its edge, a mode of ``numpy.pad``: ``"constant"`` is black,
            ``"reflect"``
            mirrors without repeating the edge.
    """
    reach = len(taps) // 2
    for axis in (0, 1):
        padding = [(0, 0)] * picture.ndim
        padding[axis] = (reach, reach)
        padded = np.pad(picture, padding, mode=border)  # type: ignore[call-overload]
        length = picture.shape[axis]
        picture = sum(
            weight * np.take(padded, range(offset, offset + length), axis=axis)
            for offset, weight in enumerate(taps)
        )
    return picture


def disc(radius: float) -> Floats:
    """Blur circle of a lens: a filled circle of `radius` pixels, antialiased, odd-sized, sum 1."""
    reach = max(0, int(np.ceil(radius)))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    weights = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    return weights / weights.sum() if weights.sum() > 0 else np.ones((1, 1))


def shift_kernel(right: float, down: float) -> Floats:
    """Kernel that moves a picture by a fraction of a pixel, bilinearly; odd-sized, sum 1."""
    reach = int(np.ceil(max(abs(right), abs(down)))) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    x, y = int(np.floor(right)), int(np.floor(down))
    u, v = right - x, down - y
    for row, row_weight in ((y, 1 - v), (y + 1, v)):
        for column, column_weight in ((x, 1 - u), (x + 1, u)):
            kernel[reach + row, reach + column] += row_weight * column_weight
    return kernel


def convolve_kernel(picture: Floats, kernel: Floats) -> Floats:
    """Convolve (H, W, C) with an odd-sized kernel by Fourier transform, mirrored beyond the edge."""
    down, right = kernel.shape[0] // 2, kernel.shape[1] // 2
    padded = np.pad(picture, ((down, down), (right, right), (0, 0)), mode="symmetric")
    shape = padded.shape[:2]
    transform = np.fft.rfft2(kernel, shape)[..., None]
    result = np.fft.irfft2(np.fft.rfft2(padded, axes=(0, 1)) * transform, shape, axes=(0, 1))
    return result[2 * down :, 2 * right :]

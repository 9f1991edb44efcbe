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

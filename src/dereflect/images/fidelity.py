"""How near a picture is to the truth: PSNR, as it is and after the best brightness and contrast."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dereflect.errors import UNNAMED, InputError
from dereflect.images.picture import Array


def psnr(estimate: Any, target: Any, data_range: float = 255.0) -> float:
    """Peak signal-to-noise ratio in dB, of the error over all values together; infinite when equal.

    Args:
        estimate: an array or CPU tensor of any shape.
        target: the same shape.
        data_range: distance between black and white: 255 for 8-bit levels, 1 for values in [0, 1].

    Raises:
        InputError: the shapes differ.
    """
    x, y = pair(estimate, target)
    error = float(np.mean((x - y) ** 2))
    return math.inf if error == 0 else 10 * math.log10(data_range**2 / error)


def unit_psnr(estimate: Any, target: Any) -> float:
    """PSNR in dB of values in [0, 1], at most 120: means and differences in a training's log stay finite.

    Raises:
        InputError: the shapes differ.
    """
    return min(120.0, psnr(estimate, target, 1.0))


def align(estimate: Any, target: Any) -> Array:
    """The estimate under the gain and offset of each channel that bring it nearest to the target.

    A single photo does not tell how bright each of its two layers was, nor where black lay: this takes that
    freedom out of a comparison. Per channel, a and b minimise the sum of (a x + b - y)^2 over all pixels.
    They are free: a may be negative, and where the estimate is constant the result is the target's mean.

    Args:
        estimate: (H, W) or (H, W, C), in any units.
        target: the same shape and units.

    Returns:
        float64 of the same shape, not clipped.

    Raises:
        InputError: the shapes differ.
    """
    x, y = pair(estimate, target)
    mean_x, mean_y = x.mean((0, 1)), y.mean((0, 1))
    own, common = ((x - mean_x) ** 2).mean((0, 1)), ((x - mean_x) * (y - mean_y)).mean((0, 1))
    gain = np.where(own > 0, common / np.where(own > 0, own, 1), 0)
    return gain * (x - mean_x) + mean_y


def pair(estimate: Any, target: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as float64 arrays.

    Raises:
        InputError: the shapes differ.
    """
    x, y = (np.asarray(picture) for picture in (estimate, target))
    if x.shape != y.shape:
        raise InputError(UNNAMED, f"its shape {x.shape} is not that of the truth, {y.shape}")
    return x.astype(np.float64), y.astype(np.float64)

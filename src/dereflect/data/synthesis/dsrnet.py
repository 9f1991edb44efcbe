"""The DSRNet rule (Hu & Guo, ICCV 2023), on which DSIT and DMDNet train: I = a T + b R - a b T R.

A residual product instead of a clip: nothing saturates, and a bright reflection hides what is behind it. The
targets are the unscaled T and the blurred, unscaled R. DSRNet's own training has a plain sum, kept within
white, in three of ten pictures.
"""

from __future__ import annotations

import random as python_random
from dataclasses import dataclass

import numpy as np

from dereflect.data.synthesis.kernels import convolve, gaussian_taps
from dereflect.data.synthesis.overflow import within_white
from dereflect.data.synthesis.triplet import Random, Triplet
from dereflect.images.picture import Array


@dataclass(frozen=True)
class Draws:
    """The random numbers of one triplet, in the order they are drawn."""

    kernel: int
    """Side of the blurring window in pixels, odd."""
    sigma: float
    """Standard deviation of the blur in pixels."""
    transmission_weight: float
    """a: the share of the scene's light that passes."""
    reflection_weight: float
    """b: the share of the mirrored light that comes back."""
    screen: bool = True
    """Whether the product is taken off; otherwise the layers are added and kept within white."""


@dataclass(frozen=True)
class Ranges:
    """Where the draws come from; the defaults are the published ones."""

    kernels: tuple[int, ...] = (5, 7, 9, 11)
    kernel_shares: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4)
    sigma: tuple[float, float] = (2.0, 5.0)
    transmission_weight: tuple[float, float] = (0.8, 1.0)
    reflection_weight: tuple[float, float] = (0.4, 1.0)
    screen_share: float = 1.0
    """Of pictures with the product; 0.7 in DSRNet's training. Nothing is drawn for it where it is 1."""


def draw(
    random: Random,
    height: int = 0,
    width: int = 0,
    ranges: Ranges | None = None,
    coin: python_random.Random | None = None,
) -> Draws:
    """Draw kernel, sigma, a, b and the form in that order (the picture's size plays no part).

    Args:
        coin: draws the form, as in the published script; None lets `random` do it.
    """
    ranges = ranges or Ranges()
    kernel = int(random.choice(ranges.kernels, p=ranges.kernel_shares))
    sigma = float(random.uniform(*ranges.sigma))
    a = float(random.uniform(*ranges.transmission_weight))
    b = float(random.uniform(*ranges.reflection_weight))
    if ranges.screen_share == 1:
        return Draws(kernel, sigma, a, b)
    u = coin.random() if coin is not None else float(random.uniform())
    return Draws(kernel, sigma, a, b, u < ranges.screen_share)


def mix(transmission: Array, reflection: Array, draws: Draws) -> Triplet:
    """Mix two pictures (H, W, 3) in [0, 1].

    Returns:
        The blended picture, the transmission as it was, and the reflection blurred but not scaled.
    """
    clear = transmission.astype(np.float64)
    blurred = convolve(reflection.astype(np.float64), gaussian_taps(draws.kernel, draws.sigma))
    a, b = draws.transmission_weight, draws.reflection_weight
    blended = a * clear + b * blurred
    if draws.screen:
        blended = blended - a * b * clear * blurred
    else:
        blended = within_white(blended, a * clear, b * blurred)
    return Triplet.of(blended, clear, blurred)

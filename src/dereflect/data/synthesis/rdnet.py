"""RDNet's rule (Zhao et al., CVPR 2025, its published code): a tinted scene, and a product or a sum.

The glass tints the scene by a gain for each colour, and the tinted scene is the target: it may exceed 1, and
so may the blended picture. In seven of ten pictures I = T + b R - T b R; in the others I = T + b R, where
what exceeds white is taken off the reflection. The reflection is what is left, I - T, signed.
"""

from __future__ import annotations

import random as python_random
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from dereflect.data.synthesis.kernels import convolve, gaussian_taps
from dereflect.data.synthesis.overflow import within_white
from dereflect.data.synthesis.triplet import Random, Triplet
from dereflect.images.picture import Array

Bounds = tuple[float, float]


@dataclass(frozen=True)
class Ranges:
    """Where the draws come from; the defaults are the published ones."""

    kernels: tuple[int, ...] = (5, 7, 9, 11)
    kernel_shares: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4)
    sigma: Bounds = (2.0, 5.0)
    reflection_weight: Bounds = (0.4, 1.0)
    gain_means: tuple[float, float, float] = (1.109, 1.106, 1.078)
    """Of red, green and blue: normal distributions, cut off at `gain_bounds`."""
    gain_deviations: tuple[float, float, float] = (0.118, 0.115, 0.116)
    gain_bounds: tuple[Bounds, Bounds, Bounds] = ((0.82, 1.42), (0.85, 1.35), (0.85, 1.31))
    screen_share: float = 0.7
    overflow_factor: float = 1.3


@dataclass(frozen=True)
class Draws:
    """The random numbers of one triplet, in the order they are drawn."""

    kernel: int
    """Side of the blurring window in pixels, odd."""
    sigma: float
    """Standard deviation of the blur in pixels."""
    reflection_weight: float
    """b: the share of the mirrored light that comes back."""
    gains: tuple[float, float, float]
    """What the scene's red, green and blue are multiplied with."""
    screen: bool
    """Whether the product is used."""
    overflow_factor: float = 1.3
    """How much of the mean excess over white is taken off the reflection of a sum."""


def draw(
    random: Random,
    height: int = 0,
    width: int = 0,
    ranges: Ranges | None = None,
    coin: python_random.Random | None = None,
) -> Draws:
    """Draw kernel, sigma, b, the gains of red, green and blue, then the form (the size plays no part).

    Args:
        coin: draws the form, as in the published script; None lets `random` do it.
    """
    ranges = ranges or Ranges()
    kernel = int(random.choice(ranges.kernels, p=ranges.kernel_shares))
    sigma = float(random.uniform(*ranges.sigma))
    weight = float(random.uniform(*ranges.reflection_weight))
    red, green, blue = (
        truncated_normal(random, mean, deviation, bounds)
        for mean, deviation, bounds in zip(
            ranges.gain_means, ranges.gain_deviations, ranges.gain_bounds, strict=True
        )
    )
    u = coin.random() if coin is not None else float(random.uniform())
    return Draws(kernel, sigma, weight, (red, green, blue), u < ranges.screen_share, ranges.overflow_factor)


def truncated_normal(random: Random, mean: float, deviation: float, bounds: Bounds) -> float:
    """A draw of a normal distribution cut off at `bounds`, from one uniform draw by the inverse."""
    normal = NormalDist(mean, deviation)
    low, high = (normal.cdf(bound) for bound in bounds)
    return normal.inv_cdf(low + float(random.uniform()) * (high - low))


def mix(transmission: Array, reflection: Array, draws: Draws) -> Triplet:
    """Mix two pictures (H, W, 3) in [0, 1].

    Returns:
        The blended picture, the tinted transmission (neither is clipped: both may exceed 1), and what the
        blended picture has more than the transmission, signed.
    """
    clear = transmission.astype(np.float64) * np.array(draws.gains)
    shown = draws.reflection_weight * blurred(reflection, draws)
    if draws.screen:
        blended = clear + shown - clear * shown
    else:
        blended = within_white(clear + shown, clear, shown, draws.overflow_factor)
    return Triplet.of(blended, clear, blended - clear)


def blurred(reflection: Array, draws: Draws) -> Array:
    """The mirrored picture out of focus, black beyond its edge; (H, W, 3) float64."""
    return convolve(reflection.astype(np.float64), gaussian_taps(draws.kernel, draws.sigma))

"""The rule of the compiled operator of the XReflection toolbox: a tinted scene, and a product or a sum.

It resembles RDNet's rule, but the weight of the reflection is drawn from a narrower range, the gains of the
colours are not cut off, and both forms are kept within white. The published trainings do not call it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dereflect.data.synthesis.kernels import convolve, gaussian_taps
from dereflect.data.synthesis.overflow import within_white
from dereflect.data.synthesis.triplet import Random, Triplet
from dereflect.images.picture import Array

KERNELS, KERNEL_SHARES = (5, 7, 9, 11), (0.1, 0.2, 0.3, 0.4)
GAINS = ((1.109, 0.118), (1.106, 0.115), (1.078, 0.116))
"""Mean and standard deviation of the gain of red, green and blue."""
SCREEN_SHARE = 0.7


@dataclass(frozen=True)
class Draws:
    """The random numbers of one triplet, in the order they are drawn."""

    kernel: int
    """Side of the blurring window in pixels, odd."""
    sigma: float
    """Standard deviation of the blur in pixels."""
    reflection_weight: float
    """The share of the mirrored light that comes back."""
    gains: tuple[float, float, float]
    """What the scene's red, green and blue are multiplied with."""
    screen: bool
    """Whether the product is taken off the sum."""


def draw(random: Random, height: int = 0, width: int = 0) -> Draws:
    """Draw kernel, sigma, weight, three gains and the form in that order (the size plays no part)."""
    kernel = int(random.choice(KERNELS, p=KERNEL_SHARES))
    sigma, weight = float(random.uniform(2, 5)), float(random.uniform(0.8, 1))
    red, green, blue = (float(random.normal(mean, deviation)) for mean, deviation in GAINS)
    return Draws(kernel, sigma, weight, (red, green, blue), float(random.uniform()) < SCREEN_SHARE)


def mix(transmission: Array, reflection: Array, draws: Draws) -> Triplet:
    """Mix two pictures (H, W, 3) in [0, 1].

    Returns:
        The blended picture, the tinted transmission (it may exceed 1), and the blurred, weighted reflection.
    """
    clear = transmission.astype(np.float64) * np.array(draws.gains)
    blurred = convolve(reflection.astype(np.float64), gaussian_taps(draws.kernel, draws.sigma))
    shown = draws.reflection_weight * blurred
    blended = clear + shown - clear * shown if draws.screen else clear + shown
    return Triplet.of(within_white(blended, clear, shown), clear, shown)

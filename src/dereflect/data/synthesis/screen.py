"""Screen blending: I = 1 - (1 - T)(1 - b R), two pictures shone on one screen, in display values.

The rule behind many before/after pictures; it never clips and leaves T untouched where R is black.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dereflect.data.synthesis.kernels import convolve, gaussian_taps
from dereflect.data.synthesis.triplet import Random, Triplet
from dereflect.images.picture import Array


@dataclass(frozen=True)
class Draws:
    """The random numbers of one triplet, in the order they are drawn."""

    sigma: float
    """Standard deviation of the blur in pixels."""
    reflection_weight: float
    """b: brightness of the mirrored picture."""


def draw(random: Random, height: int = 0, width: int = 0) -> Draws:
    """Draw sigma from 0.5 to 5 pixels and b from 0.2 to 0.9 (the picture's size plays no part)."""
    return Draws(float(random.uniform(0.5, 5)), float(random.uniform(0.2, 0.9)))


def mix(transmission: Array, reflection: Array, draws: Draws) -> Triplet:
    """Mix two pictures (H, W, 3) in [0, 1].

    Returns:
        The blended picture, the transmission as it was, and the reflection blurred and scaled by b.
    """
    clear = transmission.astype(np.float64)
    size = 2 * int(np.ceil(3 * draws.sigma)) + 1
    shown = draws.reflection_weight * convolve(
        reflection.astype(np.float64), gaussian_taps(size, draws.sigma), border="symmetric"
    )
    return Triplet.of(1 - (1 - clear) * (1 - shown), clear, shown)

"""The CEILNet rule (Fan et al., ICCV 2017): add a blurred reflection, darken it until little is clipped.

YTMT trains on it. With T the transmission and R the blurred reflection: M = T + R; if M exceeds 1 anywhere,
R <- clip(R - gamma (mean of all entries above 1, minus 1), 0, 1) and M = clip(T + R, 0, 1).
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

    kernel: int
    """Side of the blurring window in pixels, odd."""
    sigma: float
    """Standard deviation of the blur in pixels."""
    gamma: float
    """How strongly the reflection is darkened where the sum is clipped."""


@dataclass(frozen=True)
class Ranges:
    """Where the draws come from; the defaults are the published ones."""

    kernels: tuple[int, ...] = (11,)
    sigma: tuple[float, float] = (2.0, 5.0)
    gamma: tuple[float, float] = (1.3, 1.3)


def draw(random: Random, height: int = 0, width: int = 0, ranges: Ranges | None = None) -> Draws:
    """Draw kernel, sigma and gamma in that order (the picture's size plays no part)."""
    ranges = ranges or Ranges()
    return Draws(
        int(random.choice(ranges.kernels)),
        float(random.uniform(*ranges.sigma)),
        float(random.uniform(*ranges.gamma)),
    )


def mix(transmission: Array, reflection: Array, draws: Draws) -> Triplet:
    """Mix two pictures (H, W, 3) in [0, 1].

    Returns:
        The blended picture, the transmission as it was, and the reflection as it was added (blurred,
        darkened).
    """
    clear = transmission.astype(np.float64)
    blurred = convolve(reflection.astype(np.float64), gaussian_taps(draws.kernel, draws.sigma))
    blended, blurred = add_and_darken(clear, blurred, draws.gamma)
    return Triplet.of(blended, clear, blurred)


def add_and_darken(clear: Array, mirrored: Array, gamma: float) -> tuple[Array, Array]:
    """The rule's sum of two layers (H, W, 3) in [0, 1].

    Returns:
        The blended picture, and the reflection as it was added.
    """
    blended = clear + mirrored
    over = blended > 1
    if over.any():
        mirrored = (mirrored - gamma * (blended[over].mean() - 1)).clip(0, 1)
        blended = (clear + mirrored).clip(0, 1)
    return blended, mirrored

"""The rule of Zhang, Ng & Chen (CVPR 2018).

The reflection is blurred, darkened and vignetted in a power-2.2 domain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dereflect.data.synthesis.kernels import Floats, convolve, gaussian_taps
from dereflect.data.synthesis.triplet import Random, Triplet
from dereflect.images.picture import Array

POWER = 2.2
SIGMAS = np.linspace(1, 5, 80)
VIGNETTE_SIDE = 560


@dataclass(frozen=True)
class Draws:
    """The random numbers of one triplet, in the order they are drawn."""

    sigma: float
    """Standard deviation of the blur in pixels."""
    darkening: float
    """Factor on the excess above 1 that is taken off the reflection."""
    right: int
    """Column of the vignette at which the picture's window starts."""
    down: int
    """Row of the vignette at which the picture's window starts."""
    transmission_scale: float
    """Share of the scene's light that passes."""


def draw(random: Random, height: int, width: int) -> Draws:
    """Draw for a picture of this size: sigma, darkening, window column, window row, transmission scale."""
    side = vignette_side(height, width)
    return Draws(
        sigma=float(random.choice(SIGMAS)),
        darkening=1.08 + float(random.uniform(0, 1)) / 10,
        right=int(random.uniform(0, side - width - 10)),
        down=int(random.uniform(0, side - height - 10)),
        transmission_scale=1 - float(random.uniform(0, 1)) / 5,
    )


def vignette_side(height: int, width: int) -> int:
    """560 as published; 20 more than the longer side for pictures that this would not cover."""
    return max(VIGNETTE_SIDE, max(height, width) + 20)


def vignette(side: int = VIGNETTE_SIDE) -> Floats:
    """(side, side) bell: root of the outer product of Gaussian bin masses over +-3 sigma, maximum 1."""
    half_bin = 3.5 / side
    edges = np.linspace(-3 - half_bin, 3 + half_bin, side + 1)
    mass = np.diff([0.5 * (1 + math.erf(x / math.sqrt(2))) for x in edges])
    bell = np.sqrt(np.outer(mass, mass))
    return bell / bell.max()


def mix(transmission: Array, reflection: Array, draws: Draws) -> Triplet:
    """Mix two pictures (H, W, 3) in [0, 1].

    Returns:
        The blended picture, the transmission as it was (unscaled), and the reflection as it was added.
    """
    # Single precision from the first power on, as published: near black the closing root magnifies rounding a
    # thousandfold.
    height, width = transmission.shape[:2]
    clear = transmission.astype(np.float32) ** POWER
    size = 2 * math.ceil(2 * draws.sigma) + 1
    linear = (reflection.astype(np.float32) ** POWER).astype(np.float64)
    blurred = convolve(linear, gaussian_taps(size, draws.sigma), border="reflect").astype(np.float32)
    blended = blurred + clear
    for channel in range(blended.shape[-1]):
        over = blended[..., channel] > 1
        excess = max(1.0, float((blended[..., channel] * over).sum()) / (over.sum() + 1e-6)) - 1
        blurred[..., channel] -= np.float64(draws.darkening * excess)
    bell = vignette(vignette_side(height, width))
    window = bell[draws.down : draws.down + height, draws.right : draws.right + width, None]
    reflected = np.clip(blurred, 0, 1) * window
    blended = reflected + clear * draws.transmission_scale
    return Triplet.of(np.clip(blended ** (1 / POWER), 0, 1), transmission, reflected ** (1 / POWER))

"""Random photos through glass for training the default model: many formation models, so that none is
learned by heart.

Every function takes float32 tensors (3, H, W), sRGB in [0, 1], and a `numpy.random.Generator`; results
depend on nothing else. The reflection that comes back is the layer *as it would be photographed alone* in
front of black: for additive mixing in display values that is the contribution to the photo, for mixing in
linear light its tone-mapped irradiance.

Formation models and where they come from:
- clipped subtraction: Q. Fan et al., "A Generic Deep Architecture for Single Image Reflection Removal and
  Image Smoothing" (ICCV 2017): blurred reflection, lowered by how much the sum overshoots white;
- screen: Q. Hu, X. Guo, "Single Image Reflection Separation via Component Synergy" (ICCV 2023):
  a T + b R - a T b R;
- linear light: X. Zhang, R. Ng, Q. Chen, "Single Image Reflection Separation with Perceptual Losses" (CVPR
  2018): sums of irradiance under a display curve of 2.2, with a vignetted reflection;
- ghosting: Y. Shih et al., "Reflection Removal Using Ghosting Cues" (CVPR 2015): a second, shifted copy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dereflect.data.synthesis.ceilnet import add_and_darken

DISPLAY = 2.2
"""Exponent between display values and linear light."""


@dataclass(frozen=True)
class GlassMix:
    """How often each effect is drawn. The three formation models share what `identity` leaves."""

    identity: float = 0.06
    """No glass at all: the network must change nothing."""
    clipped: float = 0.4
    screen: float = 0.15
    linear: float = 0.45
    ghost: float = 0.25
    regional: float = 0.35
    tinted: float = 0.35
    veiled: float = 0.12
    night: float = 0.12
    noisy: float = 0.3
    sharp: float = 0.5
    """Reflections about as sharp as the scene."""
    dimmed: float = 0.4
    """Glass that takes light from the scene although the formation model has it clear."""


@dataclass(frozen=True)
class Glass:
    """One synthetic photo with its layers, each (3, H, W) float32 in [0, 1]."""

    blended: Tensor
    transmission: Tensor
    reflection: Tensor


def photograph(scene: Tensor, mirrored: Tensor, mix: GlassMix, rng: np.random.Generator) -> Glass:
    """Draw a formation and photograph `scene` through glass that mirrors `mirrored`."""
    if rng.random() < mix.identity:
        return Glass(scene, scene, torch.zeros_like(scene))
    mirrored = _shape_reflection(mirrored, mix, rng)
    night = rng.random() < mix.night
    if night:
        scene = scene * float(rng.uniform(0.15, 0.5))
        mirrored = mirrored ** float(rng.uniform(1.5, 3.0)) * float(rng.uniform(1.0, 2.0))
    weights = np.array([mix.clipped, mix.screen, mix.linear])
    kind = rng.choice(3, p=weights / weights.sum())
    clear = float(rng.uniform(0.85, 1)) if rng.random() < mix.dimmed else 1.0
    if kind == 0:
        dimmed = clear * scene
        glass = clipped_subtraction(dimmed, mirrored.clamp(0, 1), float(rng.uniform(1.1, 1.5)))
        glass = Glass(glass.blended, scene, glass.reflection)
    elif kind == 1:
        a = clear * float(rng.uniform(0.85, 1))
        glass = screen(scene, mirrored.clamp(0, 1), a, float(rng.uniform(0.2, 1)))
    else:
        strength = math.exp(rng.uniform(math.log(0.04), math.log(0.9)))
        glass = linear_light(scene, mirrored, float(rng.uniform(0.72, 1)), strength)
    if rng.random() < mix.noisy:
        noise = torch.from_numpy(rng.standard_normal(scene.shape, dtype=np.float32))
        glass = Glass(
            (glass.blended + float(rng.uniform(0, 0.012)) * noise).clamp(0, 1),
            glass.transmission,
            glass.reflection,
        )
    return glass


def clipped_subtraction(scene: Tensor, mirrored: Tensor, gamma: float) -> Glass:
    """Add; where the sum exceeds white, first lower the reflection by `gamma` times the mean excess."""
    blended, reflection = add_and_darken(scene, mirrored, gamma)
    return Glass(blended, scene, reflection)


def screen(scene: Tensor, mirrored: Tensor, a: float, b: float) -> Glass:
    """a T + b R - a T b R; the transmission asked for is the scene itself."""
    reflection = b * mirrored
    return Glass(a * scene + reflection - a * scene * reflection, scene, reflection)


def linear_light(scene: Tensor, mirrored: Tensor, transmittance: float, reflectance: float) -> Glass:
    """Add irradiances behind the display curve, and clip like a sensor."""
    reflected = reflectance * mirrored.clamp(min=0) ** DISPLAY
    total = transmittance * scene**DISPLAY + reflected
    return Glass(_display(total), scene, _display(reflected))


def residual_reflection(blended: Tensor, transmission: Tensor) -> Tensor:
    """The reflection of a real pair, estimated as the difference of irradiances where it is positive."""
    return _display((blended**DISPLAY - transmission**DISPLAY).clamp(min=0))


def _display(linear: Tensor) -> Tensor:
    return linear.clamp(0, 1) ** (1 / DISPLAY)


def _shape_reflection(mirrored: Tensor, mix: GlassMix, rng: np.random.Generator) -> Tensor:
    if rng.random() < mix.ghost:
        shift = tuple(int(v) for v in rng.integers(-10, 11, 2))
        weight = float(rng.uniform(0.25, 0.6))
        mirrored = (1 - weight) * mirrored + weight * torch.roll(mirrored, shift, (1, 2))
    sigma = float(rng.uniform(0, 1) if rng.random() < mix.sharp else rng.uniform(1, 5))
    mirrored = gaussian_blur(mirrored, sigma)
    if rng.random() < mix.tinted:
        mirrored = mirrored * torch.from_numpy(rng.uniform(0.6, 1.2, (3, 1, 1)).astype(np.float32))
    if rng.random() < mix.veiled:  # haze of sky or wall in the whole pane
        colour = torch.from_numpy(np.sort(rng.uniform(0.2, 0.9, 3)).astype(np.float32)).view(3, 1, 1)
        amount = float(rng.uniform(0.3, 0.9))
        mirrored = (1 - amount) * mirrored + amount * (colour if rng.random() < 0.7 else colour.mean())
    if rng.random() < mix.regional:
        mirrored = mirrored * _region(mirrored.shape[1], mirrored.shape[2], rng)
    elif rng.random() < 0.5:
        mirrored = mirrored * _vignette(mirrored.shape[1], mirrored.shape[2], rng)
    return mirrored


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """Separable Gaussian with replicated borders; sigma below 0.2 pixels leaves the image as it is."""
    if sigma < 0.2:
        return image
    radius = min(math.ceil(2.5 * sigma), image.shape[1] - 1, image.shape[2] - 1)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    taps = (taps / taps.sum()).to(image.dtype)
    x = F.pad(image[:, None], (radius, radius, radius, radius), mode="replicate")
    x = F.conv2d(x, taps.view(1, 1, 1, -1))
    return F.conv2d(x, taps.view(1, 1, -1, 1))[:, 0]


def _region(height: int, width: int, rng: np.random.Generator) -> Tensor:
    """A mask that is 1 in part of the picture: smooth blobs, or one side of a straight line as at a window's
    frame.
    """
    if rng.random() < 0.5:
        size = int(rng.integers(3, 7))
        noise = torch.from_numpy(rng.standard_normal((1, 1, size, size)).astype(np.float32))
        field = F.interpolate(noise, (height, width), mode="bicubic", align_corners=True)[0, 0]
        sharpness = float(rng.uniform(2, 8))
        return torch.sigmoid(sharpness * (field - float(rng.uniform(-0.5, 0.5))))
    angle = rng.uniform(0, 2 * math.pi)
    rows = torch.linspace(-1, 1, height)[:, None]
    columns = torch.linspace(-1, 1, width)[None, :]
    distance = math.cos(angle) * columns + math.sin(angle) * rows + float(rng.uniform(-0.5, 0.5))
    return torch.sigmoid(distance * float(rng.uniform(5, 120)))


def _vignette(height: int, width: int, rng: np.random.Generator) -> Tensor:
    centre = rng.uniform(-0.8, 0.8, 2)
    spread = float(rng.uniform(0.7, 2.0))
    rows = torch.linspace(-1, 1, height)[:, None] - float(centre[0])
    columns = torch.linspace(-1, 1, width)[None, :] - float(centre[1])
    return torch.exp(-(rows**2 + columns**2) / (2 * spread**2))

"""The numbers of one photo through glass, drawn one by one and stacked into a batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dereflect.data.glass.mix import SCENES, GlassMix

LAMPS = 3
"""At most so many lamps in a photo."""
BLOBS = 6
"""Side of the coarse random field that blobs are made of."""
Numbers = NDArray[np.floating[Any]]


class Draws(NamedTuple):
    """One photo's numbers as float32 arrays, or a batch's as tensors with a leading B.

    Lengths are shares of the picture's side, angles in radians, colours red, green and blue.
    """

    scene: Numbers | Tensor
    """(1,) which of `SCENES`."""
    black: Numbers | Tensor
    """(3,) display value that the scene's black becomes."""
    white: Numbers | Tensor
    """(3,) display value that the scene's white becomes."""
    power: Numbers | Tensor
    """(1,) exponent on the scene's display values."""
    passed: Numbers | Tensor
    """(3,) factor of the glass on the scene's display values."""
    exposure: Numbers | Tensor
    """(1,) the camera's factor on all light."""
    curve: Numbers | Tensor
    """(1,) exponent between display values and light; 1 where display values add."""
    contrast: Numbers | Tensor
    """(1,) amplitude of the S-shaped tone curve, below 1."""
    ratio: Numbers | Tensor
    """(1,) mean light of the mirrored scene relative to the scene's; 0: no glass; below 0: as it is."""
    lowered: Numbers | Tensor
    """(1,) how many times the mean excess over white is taken from the reflection (CEILNet's rule)."""
    mirror_power: Numbers | Tensor
    """(1,) exponent on the mirrored scene's display values."""
    mirror_tint: Numbers | Tensor
    """(3,) factor on the mirrored scene's light."""
    highlights: Numbers | Tensor
    """(1,) how many times brighter than white the mirrored scene's whites are."""
    blur: Numbers | Tensor
    """(2,) standard deviations of the blur of two parts of the mirrored scene."""
    depth: Numbers | Tensor
    """(3,) angle, offset and steepness of the border between the two parts."""
    ghost: Numbers | Tensor
    """(3,) shift to the right and down, and the shifted copy's weight."""
    veil: Numbers | Tensor
    """(4,) colour and share of an even veil in the mirrored scene's display values."""
    region: Numbers | Tensor
    """(3,) how far edges, blobs and a vignette shape where the glass mirrors: 0 or 1 each."""
    edge: Numbers | Tensor
    """(3,) angle, offset and steepness of an edge."""
    blobs: Numbers | Tensor
    """(BLOBS, BLOBS) a coarse field; blobs are where it exceeds the threshold."""
    blob: Numbers | Tensor
    """(2,) threshold and steepness of blobs."""
    vignette: Numbers | Tensor
    """(3,) centre and spread, in half sides."""
    lamps: Numbers | Tensor
    """(LAMPS, 7) centre x and y, radius, brightness (0: none), colour."""
    noise: Numbers | Tensor
    """(2,) variance of the sensor's noise a unit of light, and in the dark."""
    quality: Numbers | Tensor
    """(1,) of the JPEG, 0 for none."""
    halved: Numbers | Tensor
    """(1,) 1 where the JPEG holds colour at half the resolution."""


def draw(mix: GlassMix, rng: np.random.Generator) -> Draws:
    """Draw the numbers of one photo; results depend on `mix` and the state of `rng` alone."""
    shares = np.array(mix.scenes)
    kind = SCENES[int(rng.choice(len(SCENES), p=shares / shares.sum()))]
    black, white, power = _scene(kind, rng)
    additive = rng.random() < mix.additive
    glass = rng.random() >= mix.identity
    ratio = _ratio(mix, rng) if glass else 0.0
    as_it_is = additive and glass and rng.random() < 0.6
    numbers = {
        "scene": SCENES.index(kind),
        "black": black,
        "white": white,
        "power": power,
        "passed": _passed(mix, rng) if glass else np.ones(3),
        "exposure": math.exp(rng.uniform(-0.35, 0.15)) if glass and not as_it_is else 1.0,
        "curve": 1.0 if additive else rng.uniform(1.8, 2.4),
        "contrast": rng.uniform(0, 0.5) if rng.random() < mix.curved else 0.0,
        "ratio": -1.0 if as_it_is else ratio,
        "lowered": rng.uniform(1.1, 1.5) if as_it_is else 0.0,
        "mirror_power": math.exp(rng.uniform(-0.3, 0.5)),
        "mirror_tint": np.exp(rng.uniform(-0.4, 0.2, 3)) if rng.random() < mix.tinted else np.ones(3),
        "highlights": rng.uniform(1, 6) if not additive and rng.random() < 0.3 else 1.0,
        "blur": _blur(mix, rng),
        "depth": (rng.uniform(0, 2 * math.pi), rng.uniform(-0.5, 0.5), rng.uniform(3, 40)),
        "ghost": (*rng.uniform(-0.045, 0.045, 2), rng.uniform(0.2, 0.6) if rng.random() < mix.ghost else 0.0),
        "veil": _veil(rng) if rng.random() < mix.veiled else np.zeros(4),
        "region": _region(mix, rng),
        "edge": (rng.uniform(0, 2 * math.pi), rng.uniform(-0.6, 0.6), math.exp(rng.uniform(1.5, 5))),
        "blobs": rng.standard_normal((BLOBS, BLOBS)),
        "blob": (rng.uniform(-0.6, 0.6), rng.uniform(2, 10)),
        "vignette": (*rng.uniform(-0.8, 0.8, 2), rng.uniform(0.5, 1.8)),
        "lamps": _lamps(rng) if glass and rng.random() < mix.lamps else np.zeros((LAMPS, 7)),
        "noise": _noise(mix, rng),
        "quality": rng.uniform(55, 97) if rng.random() < mix.jpeg else 0.0,
        "halved": float(rng.random() < 0.7),
    }
    arrays = {name: np.asarray(value, dtype=np.float32) for name, value in numbers.items()}
    return Draws(**{name: value.reshape(1) if not value.ndim else value for name, value in arrays.items()})


def stack(draws: Sequence[Draws], device: torch.device | str = "cpu") -> Draws:
    """A batch of draws: float32 tensors with a leading B, on `device`."""
    return Draws(
        *(
            torch.from_numpy(np.stack(values)).to(device, non_blocking=True)
            for values in zip(*draws, strict=True)
        )
    )


def _scene(kind: str, rng: np.random.Generator) -> tuple[Numbers, Numbers, float]:
    """Display values of black and white, and the exponent: the tones of a kind of scene."""
    balance = np.exp(rng.uniform(-0.08, 0.08, 3)) if rng.random() < 0.5 else np.ones(3)
    black, white, power = 0.0, 1.0, math.exp(rng.uniform(-0.25, 0.25))
    if kind == "ordinary":
        white = math.exp(min(0.0, rng.uniform(-0.8, 0.3)))
    elif kind == "lifted":
        black, white = rng.uniform(0.03, 0.35), rng.uniform(0.85, 1.0)
    elif kind == "page":
        black, white, power = rng.uniform(0.03, 0.35), rng.uniform(0.75, 1.0), rng.uniform(0.6, 1.1)
    elif kind == "high_key":
        black, white, power = rng.uniform(0.0, 0.2), rng.uniform(0.92, 1.0), rng.uniform(0.35, 0.7)
    elif kind == "low_contrast":
        black = rng.uniform(0.1, 0.45)
        white = black + rng.uniform(0.3, 0.5)
    else:
        white, power = rng.uniform(0.12, 0.6), rng.uniform(1.0, 1.8)
    return black * balance, np.minimum(white * balance, 1.0), power


def _ratio(mix: GlassMix, rng: np.random.Generator) -> float:
    """Mean light of the mirrored scene relative to the scene's, in [0.03, 3]."""
    faintest, strongest = (0.4, 3.0) if rng.random() < mix.strong else (0.03, 0.4)
    return math.exp(rng.uniform(math.log(faintest), math.log(strongest)))


def _passed(mix: GlassMix, rng: np.random.Generator) -> Numbers:
    """What is left of the scene's display values behind the glass: about .75 to 1.1, a little tinted."""
    if rng.random() >= mix.dimmed:
        return np.ones(3, np.float32)
    return np.clip(rng.uniform(0.74, 1.04) * np.exp(rng.normal(0, 0.03, 3)), 0.7, 1.1)


def _blur(mix: GlassMix, rng: np.random.Generator) -> tuple[float, float]:
    if rng.random() < mix.sharp:
        return (float(rng.uniform(0, 0.003)),) * 2
    first = math.exp(rng.uniform(math.log(0.003), math.log(0.035)))
    apart = rng.uniform(0.1, 1.0) if rng.random() < mix.depth else 1.0
    return first, first * apart


def _veil(rng: np.random.Generator) -> Numbers:
    colour = np.sort(rng.uniform(0.2, 0.9, 3)) if rng.random() < 0.6 else np.full(3, rng.uniform(0.2, 0.9))
    return np.append(colour, rng.uniform(0.3, 0.9))


def _region(mix: GlassMix, rng: np.random.Generator) -> Numbers:
    region = np.zeros(3)
    if rng.random() < mix.regional:
        region[rng.choice(3, p=[0.45, 0.3, 0.25])] = 1.0
    return region


def _lamps(rng: np.random.Generator) -> Numbers:
    lamps = np.zeros((LAMPS, 7))
    for lamp in lamps[: int(rng.integers(1, LAMPS + 1))]:
        lamp[:2] = rng.uniform(0.05, 0.95, 2)
        lamp[2] = math.exp(rng.uniform(math.log(0.008), math.log(0.07)))
        lamp[3] = math.exp(rng.uniform(math.log(0.3), math.log(6.0)))
        lamp[4:] = np.exp(rng.uniform(-0.35, 0.0, 3))
    return lamps


def _noise(mix: GlassMix, rng: np.random.Generator) -> tuple[float, float]:
    if rng.random() >= mix.noisy:
        return 0.0, 0.0
    shot = math.exp(rng.uniform(math.log(3e-5), math.log(1.5e-3)))
    return shot, shot * rng.uniform(0.002, 0.02)

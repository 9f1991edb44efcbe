"""Training crops of the default model: real pairs, and photos behind random glass."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dereflect.data.crops import decode, decode_all, held_out, list_pictures, random_crop
from dereflect.data.glass import DISPLAY, GlassMix, photograph, residual_reflection
from dereflect.data.pairs import read_pairs
from dereflect.methods.default.settings import Settings


class GlassCrops:
    """Training crops: real pairs, and photos put behind random glass. See `Samples`."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.mix = GlassMix(**settings.glass)
        photos = [
            p for p in list_pictures(folder / settings.photos) if not held_out(p, settings.held_out_every)
        ]
        self.photos = decode_all(photos, settings.short_side)
        self.pairs = []
        if settings.pairs:
            for pair in read_pairs(folder / settings.pairs, check_sizes=False):
                if pair.name not in settings.held_out_pairs:
                    sides = (decode(path, settings.short_side) for path in (pair.blended, pair.transmission))
                    self.pairs.append(tuple(sides))
        self.pairs = [(i, t if t.size == i.size else t.resize(i.size)) for i, t in self.pairs]

    def __len__(self) -> int:
        return self.settings.crops_per_epoch

    def draw(self, epoch: int, index: int) -> dict[str, Tensor]:
        """A crop with its layers, and how much its reflection layer counts ((1, 1, 1): real ones are
        estimates).
        """
        rng = np.random.default_rng((self.settings.seed, epoch, index))
        size = self._side(epoch * len(self) + index)
        real = bool(self.pairs) and rng.random() < self.settings.real_share
        blended, transmission, reflection = self._real(size, rng) if real else self._made(size, rng)
        return {
            "blended": blended,
            "transmission": transmission,
            "reflection": reflection,
            "weight": torch.full((1, 1, 1), self.settings.real_reflection if real else 1.0),
        }

    def _real(self, size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """A crop of a real pair, perhaps with its reflection weaker or stronger."""
        blended, transmission = _jitter(random_crop(list(self._pair(rng)), size, rng), rng)
        if self.settings.real_strength and rng.random() < self.settings.real_strength:
            blended = _restrengthen(blended, transmission, float(rng.uniform(0.3, 1.3)))
        return blended, transmission, residual_reflection(blended, transmission)

    def _made(self, size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """A photo behind random glass, which mirrors another one or a real pair's reflection."""
        (scene,) = random_crop([self._photo(rng)], size, rng)
        if self.pairs and rng.random() < self.settings.residual_share:
            mirrored = residual_reflection(*random_crop(list(self._pair(rng)), size, rng))
            mirrored = (mirrored * float(rng.uniform(0.8, 1.6))).clamp(0, 1)
        else:
            (mirrored,) = random_crop([self._photo(rng)], size, rng)
        # Real scenes behind glass are darker than photo collections (benchmarks/glass_statistics.py).
        (scene,), (mirrored,) = _jitter([scene], rng, -1.0), _jitter([mirrored], rng)
        glass = photograph(scene, mirrored, self.mix, rng)
        return glass.blended, glass.transmission, glass.reflection

    def _side(self, number: int) -> int:
        """Crops grow: small ones teach most in an hour, large ones show the context that photos have."""
        starts = [start for start in self.settings.grow if start <= number]
        return self.settings.grow[max(starts)] if starts else self.settings.crop

    def _photo(self, rng: np.random.Generator) -> Any:
        return self.photos[int(rng.integers(len(self.photos)))]

    def _pair(self, rng: np.random.Generator) -> Any:
        return self.pairs[int(rng.integers(len(self.pairs)))]


def _jitter(images: list[Tensor], rng: np.random.Generator, darkest: float = -0.35) -> list[Tensor]:
    """The same exposure (`darkest` to 0.15, natural logarithm) and white balance change to all `images`,
    half of the time.
    """
    if rng.random() < 0.5:
        return images
    gain = math.exp(rng.uniform(darkest, 0.15)) * np.exp(rng.uniform(-0.1, 0.1, (3, 1, 1)))
    power = math.exp(rng.uniform(-0.25, 0.25))
    scale = torch.from_numpy(gain.astype(np.float32))
    return [(image**power * scale).clamp(0, 1) for image in images]


def _restrengthen(blended: Tensor, transmission: Tensor, strength: float) -> Tensor:
    """The real photo with `strength` times its reflection (irradiances add, so it scales in linear light)."""
    scene = transmission**DISPLAY
    return (scene + strength * (blended**DISPLAY - scene)).clamp(0, 1) ** (1 / DISPLAY)

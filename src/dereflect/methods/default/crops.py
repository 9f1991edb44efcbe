"""Training crops of the default model: photos with the numbers of a glass, and real pairs.

A sample holds 8-bit crops and numbers; `develop` makes a batch of photos of them, on the device that trains.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dereflect.data.crops import decode, decode_all, held_out, list_pictures, random_crop
from dereflect.data.glass import Draws, GlassMix, draw, render
from dereflect.data.glass.mix import SCENES
from dereflect.data.glass.pages import page
from dereflect.data.pairs import read_pairs
from dereflect.errors import InputError
from dereflect.methods.default.settings import Settings
from dereflect.methods.objective import since

DISPLAY = 2.2
"""Exponent between display values and linear light of real pairs."""
LUMA = (0.299, 0.587, 0.114)
"""What red, green and blue count in a grey picture."""
PLAIN = GlassMix(identity=1.0)
_PAGE = SCENES.index("page")


class GlassCrops:
    """Training crops: real pairs, and photos with a random glass. See `Samples`."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.mix = GlassMix(**settings.glass)
        photos = [path for name in settings.photos for path in list_pictures(folder / name)]
        photos = [path for path in photos if not held_out(path, settings.held_out_every)]
        self.photos = decode_all(photos, settings.short_side)
        self.pairs: list[tuple[Image.Image, Image.Image]] = []
        for name in settings.pairs:
            for pair in read_pairs(folder / name, check_sizes=False):
                if pair.name not in settings.held_out_pairs:
                    blended, clear = (
                        decode(p, settings.short_side) for p in (pair.blended, pair.transmission)
                    )
                    self.pairs.append(
                        (blended, clear if clear.size == blended.size else clear.resize(blended.size))
                    )
        if not self.photos and not (self.pairs and settings.real_share == 1):
            raise InputError(
                folder, "no photo is left to train on; give settings.photos, or another held_out_every"
            )

    def __len__(self) -> int:
        return self.settings.crops_per_epoch

    def draw(self, epoch: int, index: int) -> dict[str, Tensor]:
        """Crops and numbers of one sample.

        Returns:
            ``scene`` and ``mirrored``, (3, side, side) uint8: two photos, or transmission and blended image
            of a real pair; ``real``, (1,) 1 for a pair; ``grey``, (1,) 1 for a photo without colours;
            ``glass_*``, the numbers of `Draws`.
        """
        settings, rng = self.settings, np.random.default_rng((self.settings.seed, epoch, index))
        side = self._side(epoch * len(self) + index)
        real = bool(self.pairs) and rng.random() < settings.real_share
        if real:
            numbers = draw(PLAIN, rng)
            mirrored, scene = _jitter(random_crop(list(self._pair(rng)), side, rng), rng)
            if rng.random() < settings.real_strength:
                mirrored = _restrengthen(mirrored, scene, float(rng.uniform(0.3, 1.3)))
        else:
            numbers = draw(self.mix, rng)
            photo = self._photo(rng)
            if int(numbers.scene[0]) == _PAGE:
                photo = page(photo, rng)
            (scene,) = random_crop([photo], side, rng)
            if self.pairs and rng.random() < settings.residual_share:
                mirrored = residual_reflection(*random_crop(list(self._pair(rng)), side, rng))
            else:
                (mirrored,) = random_crop([self._photo(rng)], side, rng)
        grey = settings.grey > 0 and rng.random() < settings.grey
        return {
            "grey": torch.tensor([float(grey)]),
            "scene": (scene * 255).round().byte(),
            "mirrored": (mirrored * 255).round().byte(),
            "real": torch.tensor([float(real)]),
        } | {f"glass_{name}": torch.from_numpy(value) for name, value in numbers._asdict().items()}

    def _side(self, number: int) -> int:
        """Crops grow: small ones teach most in an hour, large ones show the context that photos have."""
        return since(self.settings.grow, number, self.settings.crop)

    def _photo(self, rng: np.random.Generator) -> Image.Image:
        return self.photos[int(rng.integers(len(self.photos)))]

    def _pair(self, rng: np.random.Generator) -> tuple[Image.Image, Image.Image]:
        return self.pairs[int(rng.integers(len(self.pairs)))]


def develop(batch: Mapping[str, Tensor], real_reflection: float = 1.0) -> dict[str, Tensor]:
    """Photograph a batch of samples; the sensor's noise comes from torch's global generator.

    Args:
        batch: stacked samples of `GlassCrops.draw`.
        real_reflection: what the reflection of real pairs counts: it is an estimate.

    Returns:
        ``blended``, ``transmission``, ``reflection``, (B, 3, H, W) float32 in [0, 1], and ``weight``,
        (B, 1, 1, 1), of the reflection.
    """
    scene, mirrored = (batch[name].float() / 255 for name in ("scene", "mirrored"))
    real = batch["real"].view(-1, 1, 1, 1)
    draws = Draws(*(batch[f"glass_{name}"] for name in Draws._fields))
    glass = render(scene, mirrored, draws)
    layers = {
        "blended": torch.where(real > 0, mirrored, glass.blended),
        "transmission": torch.where(real > 0, scene, glass.transmission),
        "reflection": torch.where(real > 0, residual_reflection(mirrored, scene), glass.reflection),
    }
    grey = batch["grey"].view(-1, 1, 1, 1) > 0
    layers = {name: torch.where(grey, _grey(layer), layer) for name, layer in layers.items()}
    return layers | {"weight": torch.where(real > 0, real_reflection, 1.0)}


def _grey(pictures: Tensor) -> Tensor:
    """(B, 3, H, W) without colours, as a camera or an editor takes them away."""
    return (pictures * pictures.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True).expand_as(pictures)


def residual_reflection(blended: Tensor, transmission: Tensor) -> Tensor:
    """The reflection of a real pair, estimated as the difference of light where it is positive."""
    return (blended**DISPLAY - transmission**DISPLAY).clamp(0, 1) ** (1 / DISPLAY)


def _jitter(images: list[Tensor], rng: np.random.Generator) -> list[Tensor]:
    """The same change of exposure and white balance to all `images`, half of the time."""
    if rng.random() < 0.5:
        return images
    gain = math.exp(rng.uniform(-0.35, 0.15)) * np.exp(rng.uniform(-0.1, 0.1, (3, 1, 1)))
    power = math.exp(rng.uniform(-0.25, 0.25))
    scale = torch.from_numpy(gain.astype(np.float32))
    return [(image**power * scale).clamp(0, 1) for image in images]


def _restrengthen(blended: Tensor, transmission: Tensor, strength: float) -> Tensor:
    """The real photo with `strength` times its reflection (light adds, so it scales in linear light)."""
    scene = transmission**DISPLAY
    return (scene + strength * (blended**DISPLAY - scene)).clamp(0, 1) ** (1 / DISPLAY)

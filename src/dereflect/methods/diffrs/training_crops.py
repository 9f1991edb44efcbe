"""Training crops for all three parts: photos behind synthetic glass, and real pairs.

DSRNet's data, which DiffRS uses.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from dereflect.data.crops import decode, decode_all, held_out, list_pictures, random_crop
from dereflect.data.pairs import read_pairs
from dereflect.data.synthesis import dsrnet
from dereflect.errors import InputError
from dereflect.images.tensors import to_tensor


class CropSettings(BaseModel):
    """Where crops come from, and how they are cut."""

    model_config = ConfigDict(extra="forbid")

    seed: int = 0
    photos: str = Field("photos", description="sub-folder of ordinary photos, the sources of both layers")
    pairs: str | None = Field(None, description="sub-folder of real pairs: blended and transmission_layer")
    held_out_every: int = Field(
        20, ge=0, description="photos whose name's CRC-32 it divides are kept for validation"
    )
    real_share: float = Field(0.0, ge=0, le=1, description="share of crops from real pairs")
    pair_reflection: Literal["residual", "none"] = Field(
        "residual", description="reflection of a real pair: I - T clipped to [0, 1], or no target for it"
    )
    short_side: int = Field(768, gt=0, description="photos are held in memory at this shorter side at most")
    crop: int = Field(512, gt=0, multiple_of=8, description="side of the crops")
    smallest: float = Field(0.6, gt=0, le=1, description="least side of a crop's source, relative to `crop`")
    crops_per_epoch: int = Field(20000, gt=0)


class LayerCrops:
    """Crops with both layers; see `Samples`. A flip is drawn half of the time."""

    def __init__(self, settings: CropSettings, folder: Path, validation: bool = False) -> None:
        self.settings, self.validation = settings, validation
        photos = [
            path
            for path in list_pictures(folder / settings.photos)
            if held_out(path, settings.held_out_every) == validation
        ]
        if not photos and not validation:
            raise InputError(
                folder / settings.photos, "every photo is held out; raise held_out_every or give 0"
            )
        if settings.real_share and not settings.pairs:
            raise InputError("settings.real_share", "there are no pairs; give settings.pairs=FOLDER")
        self.photos = decode_all(photos, settings.short_side)
        self.pairs = []
        if settings.pairs and not validation:
            self.pairs = [
                (decode(pair.blended, settings.short_side), decode(pair.transmission, settings.short_side))
                for pair in read_pairs(folder / settings.pairs)
            ]

    def __len__(self) -> int:
        return self.settings.crops_per_epoch

    def draw(self, epoch: int, index: int) -> dict[str, Tensor]:
        """Crops "blended", "transmission", "reflection" (3, H, W) in [0, 1], and "known" (1,).

        "known" is 0 without a true reflection.
        """
        settings = self.settings
        random = np.random.default_rng((settings.seed, int(self.validation), epoch, index))
        known = 1.0
        if self.pairs and random.random() < settings.real_share:
            pair = self.pairs[int(random.integers(len(self.pairs)))]
            blended, transmission = random_crop(list(pair), settings.crop, random, settings.smallest)
            reflection = (blended - transmission).clamp(0, 1)
            known = float(settings.pair_reflection == "residual")
        else:
            first, second = (int(random.integers(len(self.photos))) for _ in range(2))
            (scene,) = random_crop([self.photos[first]], settings.crop, random, settings.smallest)
            (mirrored,) = random_crop([self.photos[second]], settings.crop, random, settings.smallest)
            triplet = dsrnet.mix(_array(scene), _array(mirrored), dsrnet.draw(random))
            blended, transmission, reflection = (
                to_tensor(layer) for layer in (triplet.blended, triplet.transmission, triplet.reflection)
            )
        return {
            "blended": blended,
            "transmission": transmission,
            "reflection": reflection,
            "known": torch.tensor([known]),
        }


def _array(picture: Tensor) -> np.ndarray:
    return picture.permute(1, 2, 0).numpy()

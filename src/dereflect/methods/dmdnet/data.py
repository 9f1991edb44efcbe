"""Training data of DMDNet: a mix of synthetic and real pairs, drawn as published."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from dereflect.data.augment import JointGeometry
from dereflect.data.choice import choose_source
from dereflect.data.crops import decode, list_pictures
from dereflect.data.folders import data_folder
from dereflect.data.halves import ShuffledHalves
from dereflect.data.mixture import unit
from dereflect.data.pairs import Pair, read_pairs
from dereflect.data.synthesis import dsrnet
from dereflect.errors import RecipeError
from dereflect.images.tensors import to_tensor


class Sources(BaseModel):
    """Where training pictures come from and how they are cut; the defaults are the published ones."""

    model_config = ConfigDict(extra="forbid")

    photos: str = Field(
        "photos", description="data folder of ordinary photos: half are scenes, half mirrored"
    )
    real: list[str] = Field(
        default_factory=lambda: ["real", "nature"],
        description="data folders with blended, transmission_layer and reflection_layer",
    )
    shares: list[float] = Field(
        default_factory=lambda: [0.6, 0.2, 0.2], description="of photos and of each real folder"
    )
    patch: int = 352
    scale: tuple[int, int] = Field((352, 704), description="range of the shorter side before the crop")
    rotate: float = Field(0.5, description="probability of a quarter, half or three-quarter turn")
    black_corner_rotation: bool = Field(
        False,
        description="turn the whole picture in its old frame, as the original: loses content, adds black",
    )


class GlassMixture:
    """Synthetic and real triplets. See `dereflect.methods.objective.Samples`.

    Photos are paired as `ShuffledHalves` does it.

    Raises:
        RecipeError: folders and shares do not fit, or a source is empty.
    """

    def __init__(self, sources: Sources, folders: Mapping[str, Path], seed: int) -> None:
        if len(sources.shares) != 1 + len(sources.real) or abs(sum(sources.shares) - 1) > 1e-6:
            raise RecipeError(
                "settings.sources.shares",
                f"{sources.shares} must sum to 1, one for the photos and one for "
                f"each of real: {', '.join(sources.real) or 'none'}",
            )
        self.sources, self.seed = sources, seed
        photos = data_folder(folders, sources.photos, sources.photos)
        self.photos = ShuffledHalves(list_pictures(photos), seed)
        if not len(self.photos):
            raise RecipeError(photos, "at least two photos are needed")
        self.real = [_triplets(data_folder(folders, name, name)) for name in sources.real]
        rotate = sources.rotate if sources.black_corner_rotation else 0.0
        self.geometry = JointGeometry(crop=sources.patch, scale=sources.scale, rotate=rotate)
        self.lengths = [len(self.photos), *(len(pairs) for pairs in self.real)]

    def __len__(self) -> int:
        return sum(self.lengths)

    def draw(self, epoch: int, index: int) -> dict[str, Tensor]:
        """One triplet."""
        draws = random.Random(f"{self.seed} {epoch} {index}")
        source, element = choose_source(index, self.lengths, self.sources.shares, draws)
        if source:
            pair = self.real[source - 1][element]
            assert pair.reflection is not None
            pictures = [decode(path) for path in (pair.transmission, pair.blended, pair.reflection)]
            transmission, blended, reflection = self._cut(pictures, draws)
            return {
                "blended": to_tensor(blended),
                "transmission": to_tensor(transmission),
                "reflection": to_tensor(reflection),
            }
        scene, mirrored = self.photos.pair(epoch, element)
        (transmission,), (reflection,) = (
            self._cut([decode(scene)], draws),
            self._cut([decode(mirrored)], draws),
        )
        numbers = np.random.RandomState(draws.getrandbits(32))
        mixed = dsrnet.mix(unit(transmission), unit(reflection), dsrnet.draw(numbers))
        return {name: to_tensor(getattr(mixed, name)) for name in ("blended", "transmission", "reflection")}

    def _cut(self, pictures: list[Image.Image], draws: random.Random) -> list[Image.Image]:
        crops = self.geometry.apply(pictures, draws)
        if not self.sources.black_corner_rotation and draws.random() < self.sources.rotate:
            angle = draws.choice([90, 180, 270])
            crops = [crop.rotate(angle) for crop in crops]  # square by now, so nothing is lost
        return crops


def _triplets(folder: Path) -> list[Pair]:
    pairs = read_pairs(folder, check_sizes=False)
    if alone := [pair.name for pair in pairs if pair.reflection is None]:
        raise RecipeError(
            folder, f"'{alone[0]}' has no picture in reflection_layer, which DMDNet's losses need"
        )
    return pairs

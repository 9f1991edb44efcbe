"""Training samples from several sources: the same (seed, epoch, index) always gives the same sample.

The published trainers draw from one running generator, so that a sample depends on all that was drawn before
it. Here every sample has generators of its own, seeded by its number, and draws from them in the published
order; the distribution is the same, and a resumed run continues exactly.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dereflect.data.augment import JointGeometry, align_size
from dereflect.data.halves import ShuffledHalves
from dereflect.data.pairs import Pair, read_rgb
from dereflect.data.synthesis.triplet import Triplet
from dereflect.errors import InputError
from dereflect.images.tensors import to_tensor

Sample = dict[str, Tensor]
Rule = Callable[[NDArray[np.float32], NDArray[np.float32], np.random.Generator], Triplet]
"""Takes (transmission, reflection, source of draws)."""


@dataclass(frozen=True)
class SampleGenerators:
    """A sample's generators: Python's for the choice of source and for geometry, numpy's for synthesis."""

    python: random.Random
    numpy: np.random.Generator

    @classmethod
    def of(cls, seed: int, epoch: int, index: int) -> SampleGenerators:
        """The generators of one sample."""
        return cls(random.Random(f"{seed}/{epoch}/{index}"), np.random.default_rng([seed, epoch, index]))


class Source(Protocol):
    """Something that samples can be drawn from."""

    def __len__(self) -> int:
        """How many different samples an epoch has."""
        ...

    def sample(self, epoch: int, index: int, draws: SampleGenerators) -> Sample:
        """Sample `index` of an epoch: blended, transmission and reflection, (3, H, W) each.

        `index` is below the length.
        """
        ...


class Mixture:
    """`Samples` of several sources: each sample's source is drawn by its share.

    The index in the source is taken modulo the source's length. An epoch is as long as all sources together,
    as in the published trainers.

    Args:
        sources: where samples come from; empty ones are refused.
        shares: probability of each; they sum to 1.
        seed: of all draws.
    """

    def __init__(self, sources: Sequence[Source], shares: Sequence[float], seed: int) -> None:
        kept = [(source, share) for source, share in zip(sources, shares, strict=True) if share > 0]
        if not kept or any(len(source) == 0 for source, _ in kept):
            raise InputError("training data", "a source with a share above 0 is empty")
        self.sources = [source for source, _ in kept]
        self.shares = [share for _, share in kept]
        self.seed = seed

    def __len__(self) -> int:
        return sum(len(source) for source in self.sources)

    def draw(self, epoch: int, index: int) -> Sample:
        """See `dereflect.methods.objective.Samples`."""
        draws = SampleGenerators.of(self.seed, epoch, index)
        (source,) = draws.python.choices(self.sources, self.shares)
        return source.sample(epoch, index % len(source), draws)


class PhotosBehindGlass:
    """Synthetic samples: two photos of a list, brought to one geometry and mixed by a rule.

    Args:
        photos: see `ShuffledHalves`.
        geometry: random geometry of training, drawn once for both photos.
        mix: draws what it needs and mixes two (H, W, 3) pictures, e.g. a rule of `dereflect.data.synthesis`.
        seed: of the order of the photos.
    """

    def __init__(self, photos: Sequence[Path], geometry: JointGeometry, mix: Rule, seed: int) -> None:
        self.halves, self.geometry, self.mix = ShuffledHalves(photos, seed), geometry, mix

    def __len__(self) -> int:
        return len(self.halves)

    def sample(self, epoch: int, index: int, draws: SampleGenerators) -> Sample:
        """See `Source`. The layers are the rule's."""
        pictures = [Image.fromarray(read_rgb(path)) for path in self.halves.pair(epoch, index)]
        clear, mirrored = (unit(picture) for picture in self.geometry.apply(pictures, draws.python))
        mixed = self.mix(clear, mirrored, draws.numpy)
        return {
            "blended": to_tensor(mixed.blended),
            "transmission": to_tensor(mixed.transmission),
            "reflection": to_tensor(mixed.reflection),
        }


class RealPairs:
    """Photos through glass with the scene alone beside each; the reflection is their signed difference.

    Args:
        pairs: the photos.
        geometry: random geometry of training.
        align: both are first resized to the transmission's size, floored to a multiple of this; 0 leaves
            them.
    """

    def __init__(self, pairs: Sequence[Pair], geometry: JointGeometry, align: int = 16) -> None:
        self.pairs, self.geometry, self.align = list(pairs), geometry, align

    def __len__(self) -> int:
        return len(self.pairs)

    def sample(self, epoch: int, index: int, draws: SampleGenerators) -> Sample:
        """See `Source`."""
        pair = self.pairs[index]
        pictures = [Image.fromarray(read_rgb(path)) for path in (pair.transmission, pair.blended)]
        if self.align:
            size = pictures[0].size
            pictures = [align_size(picture, size, self.align) for picture in pictures]
        clear, blended = (to_tensor(picture) for picture in self.geometry.apply(pictures, draws.python))
        return {"blended": blended, "transmission": clear, "reflection": blended - clear}


def unit(picture: Image.Image) -> NDArray[np.float32]:
    """An 8-bit picture as (H, W, 3) float32 in [0, 1]."""
    return np.asarray(picture, dtype=np.float32) / np.float32(255)

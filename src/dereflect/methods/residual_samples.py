"""Training samples of DSRNet and DSIT: photos behind synthetic glass and real pairs, drawn as published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dereflect.data.choice import choose_source
from dereflect.data.folders import data_folder
from dereflect.data.mixture import Mixture, RealPairs, Sample, SampleGenerators, Source
from dereflect.data.sources import pair_source, photo_source
from dereflect.data.synthesis import dsrnet as rule
from dereflect.data.synthesis.triplet import Random, Triplet
from dereflect.images.picture import Array
from dereflect.methods.residual_settings import Data


class OfferedMixture(Mixture):
    """A mixture whose sources are offered one after the other, each with its share of what is left.

    Args:
        sources: where samples come from.
        shares: probability of each; they sum to 1.
        seed: of all draws.
        items: samples of an epoch; None: as many as all sources have together.
    """

    def __init__(
        self, sources: Sequence[Source], shares: Sequence[float], seed: int, items: int | None = None
    ) -> None:
        super().__init__(sources, shares, seed)
        self.items = items or super().__len__()

    def __len__(self) -> int:
        return self.items

    def draw(self, epoch: int, index: int) -> Sample:
        """See `dereflect.methods.objective.Samples`."""
        draws = SampleGenerators.of(self.seed, epoch, index)
        lengths = [len(source) for source in self.sources]
        number, element = choose_source(index, lengths, self.shares, draws.python)
        return self.sources[number].sample(epoch, element, draws)


class ClippedPairs(RealPairs):
    """Real pairs whose reflection is clipped to [0, 1]."""

    def sample(self, epoch: int, index: int, draws: SampleGenerators) -> Sample:
        """See `Source`."""
        found = super().sample(epoch, index, draws)
        return found | {"reflection": found["reflection"].clamp(0, 1)}


def training_samples(data: Data, folders: Mapping[str, Path], seed: int) -> OfferedMixture:
    """The mixture that the settings describe.

    Raises:
        RecipeError: a folder that is needed is missing or empty; names it.
    """
    ranges, geometry = data.synthesis.ranges, data.geometry

    def behind_glass(clear: Array, mirrored: Array, random: Random) -> Triplet:
        made = rule.mix(clear, mirrored, rule.draw(random, ranges=ranges))
        if data.synthetic_reflection == "blurred":
            return made
        return Triplet.of(made.blended, made.transmission, made.blended - made.transmission)

    pairs_of = RealPairs if data.real_reflection == "signed" else ClippedPairs

    def source(name: str) -> Source:
        if name == "synthetic":
            return photo_source(folders, data.photos, geometry, behind_glass, seed)
        folder = data_folder(folders, name, name)
        return pair_source(folder, geometry, data.align, data.held_out_pairs, pairs_of)

    shares = {name: share for name, share in data.shares.items() if share}
    return OfferedMixture([source(name) for name in shares], list(shares.values()), seed, data.items)

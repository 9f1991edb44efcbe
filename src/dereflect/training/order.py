"""In which order samples are trained on."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from dereflect.methods.objective import Objective


class SampleOrder:
    """Place of the n-th sample of a training: each epoch holds every sample once.

    Epochs are shuffled unless the objective wants its samples in the order of their numbers. The order
    depends on seed and epoch alone, so that a resumed run goes on with what an unbroken one would see.
    """

    def __init__(self, objective: Objective, seed: int) -> None:
        self.samples, self.shuffled, self.seed = len(objective.samples), objective.shuffled, seed
        # Threads that draw ahead may stand in two epochs at once.
        self._epoch = lru_cache(maxsize=2)(self._shuffle)

    def __call__(self, number: int) -> tuple[int, int]:
        """(epoch, index) of the sample `number`, counted from 0 over the whole training."""
        epoch, index = divmod(number, self.samples)
        return epoch, int(self._epoch(epoch)[index]) if self.shuffled else index

    def _shuffle(self, epoch: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.random.default_rng([self.seed, epoch]).permutation(self.samples)

"""One list of photos as the sources of both layers, as the published trainers take it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path


class ShuffledHalves:
    """Photos in pairs: one half of the list gives transmissions, the other reflections, paired by position.

    In epoch 0 the list is in the order of its file names. Before every later epoch it is shuffled (by seed
    and epoch alone) and halved again. Of an odd number one photo is left over.
    """

    def __init__(self, photos: Sequence[Path], seed: int) -> None:
        self.photos, self.seed = sorted(photos, key=lambda path: path.name), seed
        self._order: tuple[int, list[int]] = (0, list(range(len(self.photos))))

    def __len__(self) -> int:
        return len(self.photos) // 2

    def pair(self, epoch: int, index: int) -> tuple[Path, Path]:
        """(transmission's photo, reflection's photo) of one sample; `index` is below the length."""
        known, order = self._order
        if known != epoch:
            order = list(range(len(self.photos)))
            if epoch:
                random.Random(f"{self.seed}/{epoch}").shuffle(order)
            self._order = epoch, order
        return self.photos[order[index]], self.photos[order[len(self) + index]]

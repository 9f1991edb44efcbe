"""Which of several sources a training sample comes from, as the trainers of the field draw it."""

from __future__ import annotations

import random
from collections.abc import Sequence


def choose_source(
    index: int, lengths: Sequence[int], shares: Sequence[float], draws: random.Random
) -> tuple[int, int]:
    """Which source, and which of its elements, item `index` of an epoch is.

    The sources are offered one after the other, each with its share of what is left, so the last is taken for
    certain; a number is drawn for it all the same.

    Args:
        index: of the item in the epoch.
        lengths: of the sources.
        shares: of the sources, summing to 1.
        draws: advanced once for every source offered.

    Returns:
        (source, element).
    """
    left = 1.0
    for source, share in enumerate(shares):
        if draws.random() < share / left or source == len(shares) - 1:
            return source, index % lengths[source]
        left -= share
    raise ValueError("no sources")

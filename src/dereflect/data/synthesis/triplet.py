"""What every synthesis rule takes and gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dereflect.images.picture import Array

Random = np.random.Generator | np.random.RandomState
"""Source of draws. ``numpy.random.RandomState`` gives the sequences of the published scripts (legacy
generator).
"""


@dataclass(frozen=True)
class Triplet:
    """A synthetic photo through glass with its two layers: (H, W, 3) float32 each.

    In [0, 1], where the rule does not say otherwise: glass that tints lets a layer exceed 1, and a reflection
    that is a difference is signed.
    """

    blended: NDArray[np.float32]
    transmission: NDArray[np.float32]
    reflection: NDArray[np.float32]

    @staticmethod
    def of(blended: Array, transmission: Array, reflection: Array) -> Triplet:
        """Round three float64 pictures to float32, once, at the end."""
        return Triplet(*(picture.astype(np.float32) for picture in (blended, transmission, reflection)))

"""Blended pictures that exceed white, and what the published rules take off the reflection for it."""

from __future__ import annotations

import numpy as np

from dereflect.images.picture import Array


def within_white(blended: Array, clear: Array, shown: Array, factor: float = 1.3) -> Array:
    """The blended picture; where any of it exceeds 1, the sum of the layers with the reflection lowered.

    The reflection is clipped to [0, 1] after it is lowered, and so is the sum.

    Args:
        blended: (H, W, 3), a mix of the layers.
        clear: the scene as it comes through, the same shape.
        shown: the reflection as it is added, the same shape.
        factor: on the mean excess of all values above 1, which is one number for the whole picture.
    """
    if blended.max() <= 1:
        return blended
    excess = factor * (blended[blended > 1].mean() - 1)
    return np.clip(clear + np.clip(shown - excess, 0, 1), 0, 1)

"""The true depth of 16-bit samples: many programs put 10, 12 or 14 bits into 16 without scaling them."""

from __future__ import annotations

import numpy as np

from dereflect.images.picture import Array

# Bits, and how near to their white the brightest sample must be to count as of that depth. Real 16-bit photos
# do not end so low, except by a rare chance for 14 bits, which is why that must be nearly met.
_COMMON = ((10, 0.75), (12, 0.75), (14, 0.97))
_FEWEST_LEVELS = 32  # fewer make no photo: the true depth of a flat picture cannot be told


def to_full_range(
    values: Array, bits: int = 16, stored_bits: int = 16, inverted: bool = False
) -> tuple[Array, str]:
    """Scale uint16 samples of some true depth to the whole range; a note where 16 bits held fewer.

    Args:
        values: (H, W, C), as stored.
        bits: the depth that the file states; 16 where it states none.
        stored_bits: the depth of the container.
        inverted: whether 0 is white in the first channel.
    """
    brightest = int(values.max(initial=0))
    stated = bits < 16 and brightest < 1 << bits
    bits = bits if stated else _likely_bits(values, brightest)
    largest = (1 << bits) - 1
    if inverted:
        values = values.copy()
        values[..., 0] = largest - values[..., 0]
    if bits == 16:
        return values, ""
    scaled = ((values.astype(np.uint32) * 65535 + largest // 2) // largest).astype(np.uint16)
    if stated:
        return scaled, f"its {bits} bits a sample are scaled to 16" if stored_bits == 16 else ""
    return scaled, f"its samples reach {brightest} of 65535; they were taken as {bits} bits and scaled to 16"


def _likely_bits(values: Array, brightest: int) -> int:
    for bits, share in _COMMON:
        largest = (1 << bits) - 1
        if share * largest <= brightest <= largest:
            levels = np.count_nonzero(np.bincount(values.ravel()))
            return bits if levels >= _FEWEST_LEVELS else 16
    return 16

"""Both layers once more, by what a person drew: strokes spread to what looks alike, and move the estimate.

A stroke says which way the estimate was wrong, not by how much. With I the photo, D = I - T what the network
takes away and R its reflection, the strokes are spread to a map s in [-1, 1], 1 for "reflection" and -1 for
"scene", and::

    D' = (1 - n) D + m g R,   R' = (1 - n) R,   T' = I - D',   m = max(s, 0), n = max(-s, 0)

So scene comes back where it is said to be, and where reflection is said to be, more of what the network took
for it goes. Nothing here knows the method: any estimate of two layers will do. The spreading is the random
walker of L. Grady, "Random Walks for Image Segmentation" (TPAMI 2006), with a pull to zero, so that a stroke
ends somewhere: s minimises, over pixels p and neighbours p, q of a reduced copy::

    sum_p c_p (s_p - h_p)^2 + pull sum_p s_p^2 + sum_pq w_pq (s_p - s_q)^2

with h the strokes, c where they are, and w near 1 between pixels whose photo and layers look alike.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from dereflect.inference.prepare import Layers, Prepared
from dereflect.inference.strokes import Strokes

SIDE = 128
"""Longer side of the copy on which strokes are spread: fine enough for what a hand draws, and quick."""
HOLD = 10.0
"""How firmly a stroke holds its place."""
PULL = 0.03
"""How firmly all else holds to "nothing was said": strokes reach about 1 / sqrt(PULL) pixels of the copy."""
LIKENESS = 0.1
"""Difference of photo and layers, of 1, over which a stroke hardly passes."""
LEAST = 0.01
"""What passes all the same."""
MORE = 0.8
"""Share of the network's reflection that is taken away beyond what was, under a stroke "reflection"."""
STEPS = 100
"""Conjugate gradients at most; far fewer are needed as a rule."""
EXACT = 1e-8
"""Where they end: the squared residual, relative to that of the start."""


def guide(prepared: Prepared, strokes: Strokes | None) -> Prepared:
    """A picture after the network, with the layers as the strokes have them; as it was where nothing is said.

    Args:
        prepared: after `run.run`, not to be tiled.
        strokes: drawn over the picture.
    """
    if strokes is None or prepared.seen is None or prepared.layers is None:
        return prepared
    return replace(prepared, layers=guided(prepared.seen, prepared.layers, strokes))


@torch.inference_mode()
def guided(photo: Tensor, layers: Layers, strokes: Strokes) -> Layers:
    """Both layers as the strokes have them; where they do not reach, as they were.

    Args:
        photo: (3, h, w) in [0, 1], what the network saw.
        layers: what it made of it.
        strokes: drawn over the photo, at any size of its proportions.

    Returns:
        Layers of the same shape, in [0, 1].
    """
    transmission, reflection = layers
    height, width = photo.shape[1:]
    spread = spread_strokes(torch.cat([photo, transmission, reflection]), strokes)
    spread = F.interpolate(spread[None, None], size=(height, width), mode="bilinear", align_corners=False)[0]
    more, less = spread.clamp(min=0), (-spread).clamp(min=0)
    back = less * (photo - transmission) - more * MORE * reflection
    return Layers((transmission + back).clamp(0, 1), reflection * (1 - less))


def spread_strokes(look: Tensor, strokes: Strokes) -> Tensor:
    """Strokes spread over a reduced copy of a photo.

    Args:
        look: (C, h, w), values in [0, 1] that tell what looks alike.
        strokes: drawn over it.

    Returns:
        (SIDE, less) or (less, SIDE) in [-1, 1]: 1 is reflection, -1 is scene, 0 nothing said.
    """
    height, width = look.shape[1:]
    scale = min(1.0, SIDE / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    small = F.interpolate(look[None], size=size, mode="area")[0]
    reflection, scene = strokes.at(*size)
    touched = reflection + scene
    across, down = _alike(small, 2), _alike(small, 1)
    return _balance(HOLD * touched, HOLD * (reflection - scene), across, down).clamp(-1, 1)


def _alike(look: Tensor, dim: int) -> Tensor:
    """How alike neighbours along a dimension are, (h, w - 1) or (h - 1, w) in (0, 1 + LEAST]."""
    difference = look.diff(dim=dim).div(LIKENESS).square().sum(0)
    return torch.exp(-difference) + LEAST


def _balance(hold: Tensor, wanted: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Solve for s by conjugate gradients with the diagonal as preconditioner; all (h, w), see the module."""
    own = hold + PULL
    diagonal = _with_neighbours(own, across, down)

    def apply(s: Tensor) -> Tensor:
        result = own * s
        flow = across * s.diff(dim=1)
        result[:, 1:] += flow
        result[:, :-1] -= flow
        flow = down * s.diff(dim=0)
        result[1:] += flow
        result[:-1] -= flow
        return result

    s, residual = torch.zeros_like(wanted), wanted.clone()
    direction = step = residual / diagonal
    size = start = float((residual * step).sum())
    for _ in range(STEPS):
        if size <= EXACT * start:
            break
        applied = apply(direction)
        length = size / float((direction * applied).sum())
        s = s + length * direction
        residual = residual - length * applied
        step = residual / diagonal
        before, size = size, float((residual * step).sum())
        direction = step + size / before * direction
    return s


def _with_neighbours(own: Tensor, across: Tensor, down: Tensor) -> Tensor:
    total = own.clone()
    total[:, 1:] += across
    total[:, :-1] += across
    total[1:] += down
    total[:-1] += down
    return total

"""Both layers corrected by strokes that a person drew, which are spread to what looks alike.

A stroke says which way the estimate was wrong, not by how much. With I the photo, D = I - T what the network
takes away and R its reflection, the strokes are spread to a map s in [-1, 1], 1 for "reflection" and -1 for
"scene", and, with m = max(s, 0) and n = max(-s, 0)::

    more = min(MORE R + ABOVE max(T - A, 0) + VEIL I, T - FLOOR min(T, A))
    D' = (1 - BACK n) D + m more,   T' = I - D',   R' = (1 - n) R + m more

So scene comes back where it is said to be. Where reflection is said to be, three things go, in part: what the
network took for reflection, whatever stands out above A, the mean of the surroundings of which nobody said so
(glass only adds light), and a little of all light; but never so much that a dark spot is left. Nothing here
knows the method: any estimate of two layers will do. The spreading is the random walker of L. Grady, "Random
Walks for Image Segmentation" (TPAMI 2006), with a pull to zero, so that a stroke ends somewhere: s minimises,
over pixels p and neighbours p, q of a reduced copy::

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
BACK, MORE, ABOVE, VEIL = 0.9, 0.5, 0.8, 0.1
"""Shares, see the module. Least squares on training photos with simulated strokes chose the terms and the
order of their sizes; a few tries on reduced validation photos, the sizes."""
FLOOR = 0.7
"""Share of its surroundings' light, or of its own where that is less, that every place keeps."""
AROUND = {3: 1.0, 9: 0.1, 27: 0.01}
"""Radii of the surroundings that light stands out from, in pixels of the copy, with their weights: the near
ones count, unless all of them is said to be reflection."""
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
    return moved(photo, layers, spread_strokes(torch.cat([photo, *layers]), strokes))


def moved(photo: Tensor, layers: Layers, spread: Tensor) -> Layers:
    """Both layers moved by spread strokes.

    Args:
        photo: (3, h, w) in [0, 1].
        layers: of it.
        spread: (height, width) of a reduced copy in [-1, 1], see `spread_strokes`.

    Returns:
        Layers of the photo's shape, in [0, 1].
    """
    transmission, reflection = layers
    around = _around(transmission, spread.clamp(min=0))
    small = torch.cat([spread[None], around])[None]
    maps = F.interpolate(small, size=(photo.shape[1], photo.shape[2]), mode="bilinear")[0]
    more, less, around = maps[:1].clamp(min=0), (-maps[:1]).clamp(min=0), maps[1:]
    taken = MORE * reflection + ABOVE * (transmission - around).clamp(min=0) + VEIL * photo
    taken = more * torch.minimum(taken, transmission - FLOOR * torch.minimum(transmission, around))
    back = BACK * less * (photo - transmission)
    return Layers((transmission - taken + back).clamp(0, 1), ((1 - less) * reflection + taken).clamp(0, 1))


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


def _around(layer: Tensor, said: Tensor) -> Tensor:
    """What a layer looks like around each pixel, where reflection was not said to be.

    Args:
        layer: (3, h, w) at the network's size.
        said: (height, width) of the copy in [0, 1], how far reflection was said to be there.

    Returns:
        (3, height, width).
    """
    small = F.interpolate(layer[None], size=(said.shape[0], said.shape[1]), mode="area")
    weight = (1 - said).square()[None, None] + 1e-4
    both, total = torch.cat([small * weight, weight], dim=1), torch.zeros(4, *said.shape)
    for radius, share in AROUND.items():
        padded = F.pad(both, (radius,) * 4, mode="replicate")
        total += share * F.avg_pool2d(padded, 2 * radius + 1, stride=1)[0]
    return total[:3] / total[3:]


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

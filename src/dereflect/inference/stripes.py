"""Both layers at full size, in stripes of full-width rows from top to bottom, each with its photo's rows.

*Fitted* separates a reduced copy and brings its decision to full resolution, guided by the photo itself.
*Tiled* separates overlapping tiles at full resolution and blends them smoothly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dereflect.inference.plan import Plan
from dereflect.inference.prepare import Layers, Prepared
from dereflect.inference.run import BatchRunner
from dereflect.methods.contract import Progress

STRIPE = 128
"""Rows handed on at a time."""
WINDOW = 2
"""Radius, in pixels of the reduced copy, of the windows in which fitted running asks whose detail it is."""
FAINTEST = 0.5 / 255
"""Mean change of what the network sees, of 1, below which no reflection was found: half a level of 8 bits."""
FLAT = 0.01
"""Contrast, of 1, below which a window is flat: its fine detail (grain) then stays with the transmission."""

Rows = Callable[[int, int], Tensor]
"""``rows(start, stop)`` gives (3, stop - start, W) float32 in [0, 1] of the full picture."""
SeparateTile = Callable[[Tensor], tuple[Tensor, Tensor]]
"""(1, 3, h, w) to the two layers of the same shape."""


class Stripe(NamedTuple):
    """Some rows from row `start` on: the photo and both layers, (3, rows, W) float32 sRGB each.

    `changed` is whether the network changed what it saw of them, the reduced copy or one of the tiles, by
    `FAINTEST` or more on the mean.
    """

    start: int
    photo: Tensor
    transmission: Tensor
    reflection: Tensor
    changed: bool


def stripes(network: BatchRunner, prepared: Prepared, progress: Progress | None = None) -> Iterator[Stripe]:
    """Both layers of a picture at its full size.

    Args:
        network: runs on the tiles of a picture that is to be tiled, and on no other.
        prepared: after `run.run`.
        progress: told of the tiles.

    Raises:
        InputError: not enough memory for a tile.
    """
    height, width = prepared.picture.height, prepared.picture.width
    if prepared.seen is None or prepared.layers is None:

        def separate(tile: Tensor) -> Layers:
            return network(tile, prepared.seed, prepared.quality)

        return stripes_of_tiles(prepared.rows, height, width, prepared.plan, separate, progress)
    if prepared.plan.kind == "whole":
        return stripes_of_whole(prepared.seen, prepared.layers)
    return stripes_of_fitted(prepared.seen, prepared.layers, prepared.rows, height, width)


def stripes_of_whole(photo: Tensor, layers: tuple[Tensor, Tensor]) -> Iterator[Stripe]:
    """Hand on layers (3, H, W) that are there already."""
    changed = _changed(photo, layers[0])
    for start in range(0, photo.shape[1], STRIPE):
        rows = slice(start, start + STRIPE)
        yield Stripe(start, photo[:, rows], layers[0][:, rows], layers[1][:, rows], changed)


def stripes_of_fitted(
    small: Tensor, layers: tuple[Tensor, Tensor], rows: Rows, height: int, width: int
) -> Iterator[Stripe]:
    """Bring the layers of a reduced copy to full resolution, with the photo's own detail.

    With I the photo, D = I - T what the network takes away, and *up* bilinear enlargement::

        D_full = up(D) + g (I_full - up(I)),   T_full = I_full - D_full

    The second term is the photo's detail finer than the copy. The share g in [0, 1] that goes with D is how
    far D followed I in the copy's own finest detail (its difference to 3 x 3 means): the ridge regression
    cov(D, I) / (var(I) + flat) in small windows. So where nothing is taken away, T is the photo exactly; a
    reflection's sharp outline goes with the reflection; and grain in flat places stays. R is brought up
    alike. This is the guided filter (He et al., TPAMI 2013) with the identity, not flatness, as its prior.

    Args:
        small: (3, h, w) the reduced copy.
        layers: transmission and reflection of the copy, (3, h, w) each.
        rows: gives the full picture.
        height, width: of the full picture.
    """
    transmission, reflection = layers
    removed = small - transmission
    changed = _changed(small, transmission)
    maps = torch.cat(
        [removed, reflection, small, _detail_share(small, removed), _detail_share(small, reflection)]
    )  # (3 + 3 + 3 + 1 + 1, h, w)
    for start in range(0, height, STRIPE):
        stop = min(height, start + STRIPE)
        photo = rows(start, stop)
        up = _enlarge_rows(maps, start, stop, height, width)
        detail = photo - up[6:9]
        finer = photo - up[0:3] - up[9:10] * detail
        yield Stripe(start, photo, finer, up[3:6] + up[10:11] * detail, changed)


def _changed(photo: Tensor, transmission: Tensor) -> bool:
    return float((photo - transmission).abs().mean()) >= FAINTEST


def _detail_share(guide: Tensor, layer: Tensor) -> Tensor:
    """(1, h, w): what share of the finest detail of `guide` the `layer` follows, in [0, 1]."""
    fine_guide, fine_layer = (values - _mean(values, 1) for values in (guide, layer))  # slopes cancel out
    covariance = _mean((fine_guide * fine_layer).sum(0, keepdim=True), WINDOW)
    variance = _mean((fine_guide * fine_guide).sum(0, keepdim=True), WINDOW)
    share = (covariance / (variance + 3 * FLAT**2)).clamp(0, 1)
    return share * share * (3 - 2 * share)  # a small share is chance: it would only blur the scene


def _mean(values: Tensor, radius: int) -> Tensor:
    """Means of (C, h, w) over windows of side 2 radius + 1, borders continued."""
    padded = F.pad(values[None], (radius,) * 4, mode="replicate")
    return F.avg_pool2d(padded, 2 * radius + 1, stride=1)[0]


def _enlarge_rows(maps: Tensor, start: int, stop: int, height: int, width: int) -> Tensor:
    """Rows `start` to `stop` of `maps` enlarged bilinearly to (height, width), as by area."""
    rows = (torch.arange(start, stop, dtype=torch.float64) + 0.5) * (maps.shape[1] / height) - 0.5
    rows = rows.clamp(0, maps.shape[1] - 1)
    above = rows.floor().long()
    below = (above + 1).clamp(max=maps.shape[1] - 1)
    share = (rows - above).float()[:, None]
    mixed = torch.lerp(maps[:, above], maps[:, below], share)
    return F.interpolate(mixed[None], size=(stop - start, width), mode="bilinear", align_corners=False)[0]


def stripes_of_tiles(
    rows: Rows,
    height: int,
    width: int,
    plan: Plan,
    separate: SeparateTile,
    progress: Progress | None = None,
) -> Iterator[Stripe]:
    """Separate overlapping tiles and blend them; only one row of tiles is held at a time.

    Args:
        rows: gives the full picture.
        height, width: of the full picture.
        plan: tile size and overlap.
        separate: the network.
        progress: called after each tile.
    """
    tops, down = _cover(height, plan.height, plan.overlap)
    lefts, across = _cover(width, plan.width, plan.overlap)
    held = torch.zeros(6, plan.height, width)
    band = rows(0, plan.height)
    changed = False
    for index, top in enumerate(tops):
        for column, left in enumerate(lefts):
            reach = slice(left, left + plan.width)
            tile = band[:, :, reach]
            both = torch.cat(separate(tile[None]), dim=1)[0]  # (6, tile, tile)
            changed |= _changed(tile, both[:3])
            held[:, :, reach] += both * (down[index][:, None] * across[column])
            if progress is not None:
                progress(index * len(lefts) + column + 1, len(tops) * len(lefts))
        following = tops[index + 1] if index + 1 < len(tops) else height
        done = following - top
        for start in range(0, done, STRIPE):
            part = slice(start, min(done, start + STRIPE))
            yield Stripe(top + start, band[:, part], held[:3, part], held[3:, part], changed)
        rest = held[:, done:].clone()
        held.zero_()
        held[:, : rest.shape[1]] = rest
        if following < height:
            band = torch.cat([band[:, done:], rows(top + plan.height, following + plan.height)], dim=1)


def _cover(length: int, tile: int, overlap: int) -> tuple[list[int], list[Tensor]]:
    """Starts of tiles that cover `length`, and their weights: raised cosines that add up to one."""
    count = 1 if tile >= length else math.ceil((length - overlap) / (tile - overlap))
    starts = [round(index * (length - tile) / max(1, count - 1)) for index in range(count)]
    ramp = torch.sin((torch.arange(overlap) + 0.5) * (math.pi / 2 / max(1, overlap))) ** 2
    weights, total = [], torch.zeros(length)
    for index, start in enumerate(starts):
        weight = torch.ones(tile)
        if overlap and index > 0:
            weight[:overlap] *= ramp
        if overlap and index + 1 < count:
            weight[-overlap:] *= ramp.flip(0)
        weights.append(weight)
        total[start : start + tile] += weight
    return starts, [
        weight / total[start : start + tile] for start, weight in zip(starts, weights, strict=True)
    ]

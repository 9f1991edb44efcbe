"""Large pictures in bounded memory: whole, fitted or tiled, always handed on in stripes of full-width rows.

*Fitted* separates a reduced copy and brings its decision to full resolution, guided by the photo itself.
*Tiled* separates overlapping tiles at full resolution and blends them smoothly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dereflect.errors import InputError
from dereflect.methods.contract import Traits

STRIPE = 128
"""Rows handed on at a time."""
WINDOW = 2
"""Radius, in pixels of the reduced copy, of the windows in which fitted running asks whose detail it is."""
FLAT = 0.01
"""Contrast, of 1, below which a window is flat: its fine detail (grain) then stays with the transmission."""

Rows = Callable[[int, int], Tensor]
"""``rows(start, stop)`` gives (3, stop - start, W) float32 in [0, 1] of the full picture."""
Layers = tuple[Tensor, Tensor]
SeparateBatch = Callable[[Tensor], Layers]
"""(B, 3, h, w) to the two layers of the same shape."""


class Stripe(NamedTuple):
    """Both layers for some rows: (3, rows, W) float32 each, from row `start` on."""

    start: int
    transmission: Tensor
    reflection: Tensor


@dataclass(frozen=True)
class Plan:
    """How one picture will be run. `height` and `width` are those that the network sees at once."""

    kind: Literal["whole", "fitted", "tiled"]
    height: int
    width: int
    overlap: int = 0

    def __str__(self) -> str:
        at = f"{self.width} x {self.height}"
        return {"whole": "whole", "fitted": f"fitted at {at}", "tiled": f"tiles of {at}"}[self.kind]


def plan(
    height: int,
    width: int,
    traits: Traits,
    budget: int,
    tile: str | int = "auto",
    max_size: int | None = None,
) -> Plan:
    """Decide how to run a picture.

    Args:
        height, width: of the picture.
        traits: of the method.
        budget: bytes that the network may take at work.
        tile: ``auto``: whole up to the method's working size and the budget, else fitted. ``off``: whole,
            whatever it takes, unless `max_size` says otherwise. A number: tiles of that many pixels.
        max_size: longest side that the network may see, in place of the method's working size.

    Raises:
        InputError: `tile` is no number of at least 32 and none of the words, or the method cannot be tiled.
    """
    if tile not in ("auto", "off"):
        return _plan_tiles(height, width, traits, tile)
    limit = max_size or (max(height, width) if tile == "off" else traits.working_size)
    scale = min(1.0, limit / max(height, width))
    if tile == "auto":
        scale = min(scale, math.sqrt(budget / (traits.bytes_per_pixel * height * width)))
    if scale >= 1.0:
        return Plan("whole", height, width)
    return Plan("fitted", max(1, round(height * scale)), max(1, round(width * scale)))


def _plan_tiles(height: int, width: int, traits: Traits, tile: str | int) -> Plan:
    try:
        size = int(tile)
    except ValueError:
        size = 0
    if size < 32:
        raise InputError(f"tile '{tile}': give auto, off, or a number of at least 32 pixels")
    if not traits.tileable:
        raise InputError(f"tile {size}: this method needs the whole picture; take auto or off")
    if size >= max(height, width):
        return Plan("whole", height, width)
    overlap = min(traits.tile_overlap, size // 2)
    return Plan("tiled", min(size, height), min(size, width), overlap)


def stripes_of_whole(layers: Layers) -> Iterator[Stripe]:
    """Hand on layers (3, H, W) that are there already."""
    transmission, reflection = layers
    for start in range(0, transmission.shape[1], STRIPE):
        yield Stripe(start, transmission[:, start : start + STRIPE], reflection[:, start : start + STRIPE])


def stripes_of_fitted(small: Tensor, layers: Layers, rows: Rows, height: int, width: int) -> Iterator[Stripe]:
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
    maps = torch.cat(
        [removed, reflection, small, _detail_share(small, removed), _detail_share(small, reflection)]
    )  # (3 + 3 + 3 + 1 + 1, h, w)
    for start in range(0, height, STRIPE):
        stop = min(height, start + STRIPE)
        photo = rows(start, stop)
        up = _enlarge_rows(maps, start, stop, height, width)
        detail = photo - up[6:9]
        yield Stripe(start, photo - up[0:3] - up[9:10] * detail, up[3:6] + up[10:11] * detail)


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
    layout: Plan,
    separate: SeparateBatch,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Stripe]:
    """Separate overlapping tiles and blend them; only one row of tiles is held at a time.

    Args:
        rows: gives the full picture.
        height, width: of the full picture.
        layout: tile size and overlap.
        separate: the network.
        progress: called after each tile.
    """
    tops, down = _cover(height, layout.height, layout.overlap)
    lefts, across = _cover(width, layout.width, layout.overlap)
    held = torch.zeros(6, layout.height, width)
    for index, top in enumerate(tops):
        band = rows(top, top + layout.height)
        for column, left in enumerate(lefts):
            reach = slice(left, left + layout.width)
            both = torch.cat(separate(band[None, :, :, reach]), dim=1)[0]  # (6, tile, tile)
            held[:, :, reach] += both * (down[index][:, None] * across[column])
            if progress is not None:
                progress(index * len(lefts) + column + 1, len(tops) * len(lefts))
        done = (tops[index + 1] if index + 1 < len(tops) else height) - top
        for start in range(0, done, STRIPE):
            part = held[:, start : min(done, start + STRIPE)]
            yield Stripe(top + start, part[:3], part[3:])
        rest = held[:, done:].clone()
        held.zero_()
        held[:, : rest.shape[1]] = rest


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

"""Gated blocks on one picture without gradients: in place, in bands of rows, results as of the plain blocks.

A picture's streams lie in one tensor (streams, C, H, W), channels last. What both streams share then is one
convolution where the map is small; where it is large, a band goes through the whole chain while it is in the
processor's cache. A pass stops at the channel attention, which needs the mean of the whole map. Its scales
and those of the residual go into the weights of the projection behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from dereflect.nn.bands import BYTES_AT_ONCE, LEAST_ROWS, Border, depthwise
from dereflect.nn.convolution import pointwise_product
from dereflect.nn.mugi import MuGIBlock
from dereflect.nn.single_stream import SingleStreamBlock

WIDE_SWEEP = 12
"""Numbers that a pass holds at once for each channel and pixel of a stream."""


@dataclass(frozen=True)
class Stage:
    """The first stage of a gated block."""

    norm: nn.Module
    widen: nn.Conv2d
    mix: nn.Conv2d
    attention: nn.Conv2d
    project: nn.Conv2d
    scales: tuple[Tensor, ...]
    """(1, C, 1, 1) of each stream's residual."""

    def mixed(self, x: Tensor, border: Border) -> Tensor:
        """Norm, widening and mixing of neighbours in a band."""
        wide = pointwise_product(self.norm(x), self.widen.weight, self.widen.bias)
        return depthwise(self.mix, wide, border)


@dataclass(frozen=True)
class SecondStage:
    """The second stage: no neighbours, no attention."""

    norm: nn.Module
    widen: nn.Conv2d
    project: nn.Conv2d
    scales: tuple[Tensor, ...]

    def widened(self, x: Tensor) -> Tensor:
        """Norm and widening."""
        return pointwise_product(self.norm(x), self.widen.weight, self.widen.bias)


def interact_(block: nn.Module, z: Tensor) -> Tensor:
    """A `MuGIBlock` on both streams, in place.

    Args:
        block: the block.
        z: (2, C, H, W), channels last; or (1, C, H, W), where both streams begin as the same map: what they
            share is then done once.

    Returns:
        (2, C, H, W): `z` itself, if it had both streams.
    """
    first, second = _stages(cast(MuGIBlock, block))
    gated, means = _gate(first, z)
    if len(z) == 1:
        z = torch.cat([z, z])
    return _add_gated_(z, first, gated, means, second)


def interact_alone_(block: SingleStreamBlock, z: Tensor) -> Tensor:
    """A `SingleStreamBlock` on (1, C, H, W), channels last, in place."""
    parts: Any = block
    first, again = parts.block1, parts.block2
    stage = Stage(first[0], first[1], first[2], first[4].ca[1], first[5], (block.a,))
    gated, means = _gate(stage, z)
    return _add_gated_(z, stage, gated, means, SecondStage(again[0], again[1], again[3], (block.b,)))


def feed_forward_(layers: Any, scale: Tensor, z: Tensor) -> Tensor:
    """The first stage of a mutually gated block alone, added to (2, C, H, W), channels last, in place.

    Args:
        layers: the stage as the plain blocks have it.
        scale: (1, C, 1, 1), of either stream's residual.
        z: both streams.
    """
    norm, widen, mix = layers[0].seq
    stage = Stage(norm, widen, mix, layers[2].seq[0].ca[1], layers[3].seq[0], (scale, scale))
    return _add_gated_(z, stage, *_gate(stage, z))


def _stages(block: MuGIBlock) -> tuple[Stage, SecondStage]:
    """Take a block apart."""
    parts: Any = block
    first, again = parts.block1, parts.block2
    b = (block.b, block.b) if block.shared_b else (block.b_l, block.b_r)
    norm, widen, mix = first[0].seq
    stage = Stage(norm, widen, mix, first[2].seq[0].ca[1], first[3].seq[0], (block.a_l, block.a_r))
    norm, widen = again[0].seq
    return stage, SecondStage(norm, widen, again[2].seq[0], b)


def bands(z: Tensor, numbers: int) -> Iterator[tuple[int, int]]:
    """Rows (top, bottom) of the bands that (streams, C, H, W) is worked on in; all rows on a graphics card.

    Args:
        z: the map.
        numbers: held at once for each pixel of a stream.
    """
    height = z.shape[2]
    row = len(z) * z.shape[3] * numbers * z.element_size()
    rows = max(LEAST_ROWS, BYTES_AT_ONCE // row)
    if z.device.type != "cpu" or height <= 2 * rows:  # few rows more are better than their neighbours twice
        rows = height
    for top in range(0, height, rows):
        yield top, min(top + rows, height)


def _slabs(z: Tensor, top: int, bottom: int) -> list[Tensor]:
    """The rows of every stream, each in one piece; or the whole map as the one piece that it is."""
    if (top, bottom) == (0, z.shape[2]):
        return [z]
    return list(z[:, :, top:bottom].split(1))


def _each(slabs: Sequence[Tensor], layers: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Layers that all streams share, on all of them; then the streams apart."""
    return [stream for slab in slabs for stream in layers(slab).split(1)]


def _gate(stage: Stage, z: Tensor) -> tuple[Tensor, Tensor]:
    """Norm, widening, mixing of neighbours and the gate.

    Returns:
        (gated, means): (streams, C, H, W) and its means (streams, C, 1, 1).
    """
    height = z.shape[2]
    gated = torch.empty_like(z, memory_format=torch.channels_last)
    kind = torch.promote_types(z.dtype, torch.float32)
    total = z.new_zeros(len(z), z.shape[1], dtype=kind)
    for top, bottom in bands(z, WIDE_SWEEP * z.shape[1]):
        first, last = max(top - 1, 0), min(bottom + 1, height)
        border: Border = (1 - (top - first), 1 - (last - bottom))

        places = gated[:, :, top:bottom].split(1)
        _cross(_each(_slabs(z, first, last), partial(stage.mixed, border=border)), places)
        for number, place in enumerate(places):
            total[number] += place.sum(dim=(0, 2, 3), dtype=kind)
    return gated, (total / (height * z.shape[3])).to(z.dtype)[..., None, None]


def _cross(wide: Sequence[Tensor], places: Sequence[Tensor]) -> None:
    """Gate each stream by the other, or the only one by itself, into `places`."""
    halves = [stream.chunk(2, dim=1) for stream in wide]
    for number, place in enumerate(places):
        torch.mul(halves[number][0], halves[-1 - number][1], out=place)


def _scaled(conv: nn.Conv2d, scale: Tensor, inputs: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a 1x1 convolution with results, and perhaps inputs, scaled channel by channel."""
    weight = conv.weight * scale.view(-1, 1, 1, 1)
    if inputs is not None:
        weight = weight * inputs.view(1, -1, 1, 1)
    return weight, None if conv.bias is None else conv.bias * scale.flatten()


def _add_gated_(
    z: Tensor, first: Stage, gated: Tensor, means: Tensor, second: SecondStage | None = None
) -> Tensor:
    """Attention and projection of the first stage, then the second stage, added to `z`."""
    scales = first.attention(means)
    scales = scales.expand(len(z), -1, -1, -1)
    projections = [_scaled(first.project, a, s) for a, s in zip(first.scales, scales, strict=True)]
    closing = [] if second is None else [_scaled(second.project, b) for b in second.scales]
    for top, bottom in bands(z, WIDE_SWEEP * z.shape[1]):
        streams = z[:, :, top:bottom].split(1)
        sources = gated.expand(len(z), -1, -1, -1)[:, :, top:bottom].split(1)
        for stream, source, parameters in zip(streams, sources, projections, strict=True):
            stream.add_(pointwise_product(source, *parameters))
        if second is None:
            continue
        wide = _each(_slabs(z, top, bottom), second.widened)
        inner = [torch.empty_like(stream, memory_format=torch.channels_last) for stream in streams]
        _cross(wide, inner)
        for stream, source, parameters in zip(streams, inner, closing, strict=True):
            stream.add_(pointwise_product(source, *parameters))
    return z

"""The dual-attention block on one picture without gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from dereflect.methods.dsit.attention import DualAttentionBlock
from dereflect.nn.attention_in_place import (
    from_windows,
    mix,
    queries,
    rows_of_windows,
    scaled_product,
    to_windows,
)
from dereflect.nn.gated_in_place import feed_forward_


def dual_attention_(block: DualAttentionBlock, z: Tensor) -> Tensor:
    """A `DualAttentionBlock` in place.

    Args:
        block: the block.
        z: (2, C, H, W), channels last: both streams.

    Returns:
        `z`.
    """
    _attend_(block, z, z, (0, 1))
    return feed_forward_(block.feedforward, block.b, z)


def both_meetings(block: DualAttentionBlock, swin: Tensor, streams: Tensor) -> tuple[Tensor, Tensor]:
    """A block on (swin, left) and on (swin, right); what concerns the Swin map alone is done once.

    Args:
        block: the block.
        swin: (1, C, H, W), channels last.
        streams: (2, C, H, W), channels last.

    Returns:
        Two pairs (2, C, H, W).
    """
    maps = torch.cat([swin, streams]).contiguous(memory_format=torch.channels_last)
    order = (0, 1, 0, 2)
    z = maps[list(order)].contiguous(memory_format=torch.channels_last)
    _attend_(block, maps, z, order)
    pairs = z.split(2)
    first, second = (feed_forward_(block.feedforward, block.b, pair) for pair in pairs)
    return first, second


def _attend_(block: DualAttentionBlock, maps: Tensor, z: Tensor, order: tuple[int, ...]) -> None:
    """Add both attentions to pairs of streams.

    A window's tokens of a pair lie one behind the other: as two sequences for the attention within a stream,
    and as one for that across.

    Args:
        block: the block.
        maps: (S, C, H, W): the different streams; may be `z` itself.
        z: (2 * pairs, C, H, W), channels last: the streams of the pairs, changed.
        order: which of `maps` each stream of `z` is.
    """
    height, width = z.shape[2:]
    channels, side = z.shape[1], block.window
    norm, scale = block.norm1.seq[0], block.a
    within, across = block.dsia_sa, block.dsia_ca
    bias_within, bias_across = within.bias()[None], across.bias()[None]
    sources, places = maps.permute(0, 2, 3, 1), z.permute(0, 2, 3, 1)  # (streams, H, W, C)
    chosen = slice(None) if len(order) == len(maps) else list(order)
    step = side * rows_of_windows(width, side, 9 * len(order) * channels, z)
    for top in range(0, height, step):
        band = norm(sources[:, top : top + step].permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        rows = band.shape[1]
        qkv = to_windows(queries(within, band), side)  # (windows, S, side^2, 3C)
        mixed = mix(within, qkv.flatten(0, 1), bias_within).view(*qkv.shape[:3], channels)
        own = scaled_product(from_windows(mixed, side, rows, width), within.proj, scale)
        qkv = to_windows(queries(across, band)[chosen], side)
        pairs = qkv.view(-1, 2 * side * side, 3 * channels)
        mixed = mix(across, pairs, bias_across).view(*qkv.shape[:3], channels)
        change = scaled_product(from_windows(mixed, side, rows, width), across.proj, scale)
        change += own[chosen]
        places[:, top : top + step] += change

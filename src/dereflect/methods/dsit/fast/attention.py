"""The dual-attention block on one picture without gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from dereflect.methods.dsit.attention import DualAttentionBlock
from dereflect.nn.attention_in_place import (
    attend,
    from_windows,
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
    _attend_(block, z)
    return feed_forward_(block.feedforward, block.b, z)


def _attend_(block: DualAttentionBlock, z: Tensor) -> None:
    """Both attentions. A window's tokens of both streams lie one behind the other: as two sequences for the
    attention within a stream, and as one for that across.
    """
    height, width = z.shape[2:]
    channels, side = z.shape[1], block.window
    norm = block.norm1.seq[0]
    within, across = block.dsia_sa, block.dsia_ca
    bias_within, bias_across = within.bias()[None], across.bias()[None]
    maps = z.permute(0, 2, 3, 1)  # (2, H, W, C)
    step = side * rows_of_windows(width, side, 16 * channels, z)
    for top in range(0, height, step):
        band = maps[:, top : top + step]
        tokens = to_windows(norm(band.permute(0, 3, 1, 2)).permute(0, 2, 3, 1), side)
        windows, _, length, _ = tokens.shape
        apart, joint = tokens.view(-1, length, channels), tokens.view(windows, -1, channels)
        change = scaled_product(attend(within, apart, bias_within), within.proj, block.a)
        more = scaled_product(attend(across, joint, bias_across), across.proj, block.a)
        change += more.view_as(change)
        band += from_windows(change.view_as(tokens), side, band.shape[1], width)


def both_meetings(block: DualAttentionBlock, swin: Tensor, streams: Tensor) -> tuple[Tensor, Tensor]:
    """A block on (swin, left) and on (swin, right).

    Args:
        block: the block.
        swin: (1, C, H, W), channels last.
        streams: (2, C, H, W), channels last.

    Returns:
        Two pairs (2, C, H, W).
    """
    first, second = (
        torch.cat([swin, stream]).contiguous(memory_format=torch.channels_last) for stream in streams.split(1)
    )
    return dual_attention_(block, first), dual_attention_(block, second)

"""Window attention without gradients: fused, in bands of windows, results as of the plain layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dereflect.nn.bands import BYTES_AT_ONCE
from dereflect.nn.convolution import product
from dereflect.nn.windows import WindowAttention


def attend(layer: WindowAttention, tokens: Tensor, bias: Tensor) -> Tensor:
    """What `layer` mixes, before its last product.

    Args:
        layer: the attention.
        tokens: (windows, N, C), contiguous.
        bias: (1 or windows, heads, N, N), added to the logits.

    Returns:
        (windows, N, C), contiguous.
    """
    windows, length, channels = tokens.shape
    qkv = product(tokens, layer.qkv.weight, layer.qkv.bias)
    q, k, v = qkv.view(windows, length, 3, layer.heads, channels // layer.heads).permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    return mixed.transpose(1, 2).reshape(windows, length, channels)


def rows_of_windows(width: int, side: int, numbers: int, x: Tensor) -> int:
    """How many rows of windows to work on at once; more than any map has on a graphics card.

    Args:
        width: of the map, in pixels.
        side: of a window.
        numbers: held at once for each pixel.
        x: what device and dtype it is on.
    """
    if x.device.type != "cpu":
        return 1 << 30
    return max(1, BYTES_AT_ONCE // (width * side * numbers * x.element_size()))


def to_windows(maps: Tensor, side: int) -> Tensor:
    """(S, h, W, C), padded by zeros to multiples of `side`, as (windows, S, side * side, C), contiguous."""
    streams, height, width, channels = maps.shape
    if height % side or width % side:
        maps = F.pad(maps, (0, 0, 0, -width % side, 0, -height % side))
    x = maps.unflatten(1, (-1, side)).unflatten(3, (-1, side))  # (S, rows, side, columns, side, C)
    return x.permute(1, 3, 0, 2, 4, 5).reshape(-1, streams, side * side, channels)


def from_windows(windows: Tensor, side: int, height: int, width: int) -> Tensor:
    """The inverse of `to_windows`: (windows, S, side * side, C) as (S, height, width, C), padding cut off."""
    streams, channels = windows.shape[1], windows.shape[-1]
    rows, columns = -(-height // side), -(-width // side)
    x = windows.view(rows, columns, streams, side, side, channels).permute(2, 0, 3, 1, 4, 5)
    return x.reshape(streams, rows * side, columns * side, channels)[:, :height, :width]


def scaled_product(tokens: Tensor, layer: torch.nn.Linear, scale: Tensor) -> Tensor:
    """A linear layer whose results are scaled channel by channel."""
    return product(tokens, layer.weight * scale.view(-1, 1), layer.bias * scale.flatten())

"""Window attention without gradients: fused, in bands of windows, results as of the plain layers.

Queries, keys and values are products of single pixels, so they are made before a map is cut into windows.
What a map is padded with is then no work: zeros give the biases. What an attention mixes is put back into a
map, without the padding, before its last product.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dereflect.nn.bands import BYTES_AT_ONCE
from dereflect.nn.convolution import product
from dereflect.nn.windows import WindowAttention


def queries(layer: WindowAttention, maps: Tensor) -> Tensor:
    """Queries, keys and values (S, H, W, 3C) of maps (S, H, W, C), contiguous, padded to whole windows."""
    found = product(maps, layer.qkv.weight, layer.qkv.bias)
    streams, height, width, channels = found.shape
    down, right = -height % layer.side, -width % layer.side
    if not down and not right:
        return found
    padded = layer.qkv.bias.expand(streams, height + down, width + right, channels).contiguous()
    padded[:, :height, :width] = found
    return padded


def mix(layer: WindowAttention, qkv: Tensor, bias: Tensor) -> Tensor:
    """What `layer` mixes, before its last product.

    Args:
        layer: the attention.
        qkv: (windows, N, 3C), contiguous.
        bias: (1 or windows, heads, N, N), added to the logits.

    Returns:
        (windows, N, C), contiguous.
    """
    windows, length, wide = qkv.shape
    q, k, v = qkv.view(windows, length, 3, layer.heads, -1).permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    return mixed.transpose(1, 2).reshape(windows, length, wide // 3)


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
    """(S, h, W, C), multiples of `side`, as (windows, S, side * side, C), contiguous."""
    x = maps.unflatten(1, (-1, side)).unflatten(3, (-1, side))  # (S, rows, side, columns, side, C)
    return x.permute(1, 3, 0, 2, 4, 5).reshape(-1, len(maps), side * side, maps.shape[-1])


def from_windows(windows: Tensor, side: int, height: int, width: int) -> Tensor:
    """The inverse of `to_windows`, padding cut off: (S, height, width, C), contiguous."""
    streams, channels = windows.shape[1], windows.shape[-1]
    rows, columns = -(-height // side), -(-width // side)
    x = windows.view(rows, columns, streams, side, side, channels).permute(2, 0, 3, 1, 4, 5)
    x = x.reshape(streams, rows * side, columns * side, channels)
    return x[:, :height, :width].contiguous()


def scaled_product(tokens: Tensor, layer: torch.nn.Linear, scale: Tensor) -> Tensor:
    """A linear layer whose results are scaled channel by channel."""
    return product(tokens, layer.weight * scale.view(-1, 1), layer.bias * scale.flatten())

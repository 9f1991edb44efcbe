"""Windows of a feature map, and multi-head attention inside each with a learned bias by relative position.

Z. Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows" (ICCV 2021), section
3.2. With two layers a sequence holds the tokens of two maps' windows, and the bias also depends on the layers
of query and key (Hu, Wang & Guo, "Single Image Reflection Separation via Dual-Stream Interactive
Transformers", NeurIPS 2024, DS-CA).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def split_windows(x: Tensor, side: int) -> Tensor:
    """Cut a map into squares.

    Args:
        x: (B, H, W, C), H and W multiples of `side`.
        side: of a window.

    Returns:
        (B * windows, side * side, C): windows of each map in raster order, tokens in raster order inside.
    """
    batch, height, width, channels = x.shape
    x = x.view(batch, height // side, side, width // side, side, channels)
    return x.transpose(2, 3).reshape(-1, side * side, channels)


def join_windows(windows: Tensor, side: int, height: int, width: int) -> Tensor:
    """The inverse of `split_windows`: (B * windows, side * side, C) to (B, height, width, C)."""
    channels = windows.shape[-1]
    x = windows.view(-1, height // side, width // side, side, side, channels)
    return x.transpose(2, 3).reshape(-1, height, width, channels)


def pad_to_windows(x: Tensor, side: int) -> Tensor:
    """Zeros at the right and the bottom of (B, H, W, C), up to multiples of `side`."""
    height, width = x.shape[1:3]
    return F.pad(x, (0, 0, 0, -width % side, 0, -height % side))


def fitting_window(window: int, *sides: int) -> int:
    """The window of a map with these nominal sides: the shorter side, where `window` does not fit into it."""
    return min(sides) if min(sides) <= window else window


def position_index(side: int, layers: int = 1) -> Tensor:
    """Row of the bias table for each pair of tokens.

    Args:
        side: of a window.
        layers: windows that lie one after the other in a sequence, 1 or 2.

    Returns:
        (N, N) int64, N = layers * side^2; entry (i, j) depends on position(i) - position(j), by rows then
        columns, and on layer(i) - layer(j) where there are two.
    """
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    y, x = rows.flatten().repeat(layers), columns.flatten().repeat(layers)
    layer = torch.arange(layers).repeat_interleave(side * side)
    dy, dx, dl = (part[:, None] - part[None, :] for part in (y, x, layer))
    span = 2 * side - 1
    return ((dl + layers - 1) * span + dy + side - 1) * span + dx + side - 1


class WindowAttention(nn.Module):
    """Multi-head self-attention over the tokens of each window.

    Args:
        channels: C.
        side: of a window.
        heads: of C / heads channels each.
        layers: windows in a sequence, see `position_index`.
    """

    relative_position_index: Tensor

    def __init__(self, channels: int, side: int, heads: int, layers: int = 1) -> None:
        super().__init__()
        self.side, self.heads = side, heads
        rows = (2 * layers - 1) * (2 * side - 1) ** 2
        self.relative_position_bias_table = nn.Parameter(torch.empty(rows, heads))
        self.register_buffer("relative_position_index", position_index(side, layers))
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def bias(self) -> Tensor:
        """(heads, N, N), added to the logits."""
        return self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            tokens: (windows, N, C), N the tokens of a sequence.
            mask: (windows of one map, N, N), added to the logits.

        Returns:
            (windows, N, C).
        """
        windows, length, channels = tokens.shape
        qkv = self.qkv(tokens).view(windows, length, 3, self.heads, channels // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (windows, heads, N, C / heads) each
        logits = (q * (channels // self.heads) ** -0.5) @ k.transpose(-2, -1) + self.bias()
        if mask is not None:
            maps = logits.view(-1, mask.shape[0], *logits.shape[1:])
            logits = (maps + mask[:, None]).view_as(logits)
        mixed = logits.softmax(dim=-1) @ v
        return self.proj(mixed.transpose(1, 2).reshape(windows, length, channels))

"""The dual-attention interactive block: attention within each layer and between the layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dereflect.nn.mugi import ChannelNorm, Twice, crossed_layers
from dereflect.nn.streams import TwoStreams
from dereflect.nn.windows import WindowAttention, join_windows, pad_to_windows, split_windows


class DualAttentionBlock(nn.Module):
    """Attention in windows and a crossed-gate feed-forward, added to two streams; all weights are shared.

    DS-SA attends within the window of one stream. DS-CA attends within the joint sequence of both streams'
    windows, so it also sees its own stream. A fresh block is the identity.

    Args:
        channels: C of both streams.
        heads: of both attentions.
        window: side of a window.
    """

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.a = nn.Parameter(torch.zeros(1, 1, channels))
        self.b = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.norm1 = Twice(ChannelNorm(channels, eps=1e-5))
        self.dsia_sa = WindowAttention(channels, window, heads)
        self.dsia_ca = WindowAttention(channels, window, heads, layers=2)
        self.feedforward = crossed_layers(channels)

    def forward(self, x: Tensor, y: Tensor) -> TwoStreams:
        """Two (B, C, H, W) tensors to two of the same shape."""
        dx, dy = self.attend(x, y)
        scale = self.a.view(1, -1, 1, 1)
        x, y = x + scale * dx, y + scale * dy

        dx, dy = x, y
        for layer in self.feedforward:
            dx, dy = layer(dx, dy)
        return x + self.b * dx, y + self.b * dy

    def attend(self, x: Tensor, y: Tensor) -> TwoStreams:
        """Sum of both attentions for each stream.

        Maps are padded after the norm. Padding takes part as queries, keys and values: it is not masked.
        """
        height, width = x.shape[2:]
        side = self.window
        maps = [pad_to_windows(z.permute(0, 2, 3, 1), side) for z in self.norm1(x, y)]
        rows, columns = maps[0].shape[1:3]
        tokens_x, tokens_y = (split_windows(z, side) for z in maps)  # (windows, side^2, C) each
        joint = self.dsia_ca(torch.cat([tokens_x, tokens_y], dim=1))
        across_x, across_y = joint.split(side * side, dim=1)

        def whole(tokens: Tensor) -> Tensor:
            return join_windows(tokens, side, rows, columns)[:, :height, :width].permute(0, 3, 1, 2)

        return whole(self.dsia_sa(tokens_x) + across_x), whole(self.dsia_sa(tokens_y) + across_y)

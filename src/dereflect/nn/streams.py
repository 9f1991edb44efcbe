"""Layers that do to each of two streams the same, and chains of layers on a pair of streams."""

from __future__ import annotations

from torch import Tensor, nn

TwoStreams = tuple[Tensor, Tensor]
"""The two streams: transmission's and reflection's."""


class TwoStreamSequence(nn.Sequential):
    """Layers of two streams, one after the other; keys are the indices."""

    def forward(self, x: Tensor, y: Tensor) -> TwoStreams:  # type: ignore[override]
        """Two (B, C, H, W) tensors through all layers."""
        for layer in self:
            x, y = layer(x, y)
        return x, y

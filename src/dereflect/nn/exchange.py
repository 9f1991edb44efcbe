"""The exchange between two streams: what one stream's rectifier discards is handed to the other.

"Trash or Treasure? An Interactive Dual-Stream Strategy for Single Image Reflection Separation" (Hu & Guo,
NeurIPS 2021), section 3.1, and the two ablation baselines of its Table 4.
"""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor, nn


class Exchange(StrEnum):
    """How two streams meet after a pair of convolutions; the letters are those of the paper's network
    names.
    """

    ADDITIVE = "A"
    """Each stream adds what the other's rectifier discards; no parameters."""
    CONCAT = "C"
    """Each stream mixes its own positive part with the other's negative part by a 1x1 convolution."""
    RELU_ONLY = "P"
    """As `CONCAT`, but with the other's positive part: interaction without the discarded half (ablation)."""
    NONE = "N"
    """Two separate rectifiers (ablation "w/o FI")."""


def split(x: Tensor) -> tuple[Tensor, Tensor]:
    """Positive and negative part of `x`: (max(x, 0), min(x, 0)); their sum is `x`."""
    positive = torch.relu(x)
    return positive, x - positive


class ExchangeHead(nn.Module):
    """Rectify two streams and exchange between them.

    Args:
        kind: which exchange.
        channels: channels of each stream, in and out.
    """

    def __init__(self, kind: Exchange | str, channels: int) -> None:
        super().__init__()
        self.kind = Exchange(kind)
        if self.kind in (Exchange.CONCAT, Exchange.RELU_ONLY):
            self.fusion_l = nn.Conv2d(2 * channels, channels, 1)
            self.fusion_r = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """Exchange two pre-activations (B, C, H, W) each; shapes are kept."""
        if self.kind is Exchange.NONE:
            return torch.relu(left), torch.relu(right)
        left_kept, left_given = split(left)
        right_kept, right_given = split(right)
        if self.kind is Exchange.ADDITIVE:
            return left_kept + right_given, right_kept + left_given
        if self.kind is Exchange.RELU_ONLY:
            left_given, right_given = left_kept, right_kept
        return (
            self.fusion_l(torch.cat([left_kept, right_given], dim=1)),
            self.fusion_r(torch.cat([right_kept, left_given], dim=1)),
        )

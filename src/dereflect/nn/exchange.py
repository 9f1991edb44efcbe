"""The exchange between two streams: what one stream's rectifier discards is handed to the other.

"Trash or Treasure? An Interactive Dual-Stream Strategy for Single Image Reflection Separation" (Hu & Guo,
NeurIPS 2021), section 3.1, and the two ablation baselines of its Table 4.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn


class Exchange(StrEnum):
    """How two streams meet after a pair of convolutions.

    The letters are those of the paper's network names.
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


class _Additive(torch.autograd.Function):
    """The additive exchange with half the memory traffic of the composed one when training.

    Each input's gradient is that of the output which its sign sent it to. (`torch.where` says so more
    plainly, and is eight times slower on a CPU.)
    """

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(left, right)
        return (
            torch.relu(left).add_(right.clamp(max=0)),
            torch.relu(right).add_(left.clamp(max=0)),
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        left, right = ctx.saved_tensors
        to_left, to_right = gradients
        difference = to_left - to_right
        kept = torch.ops.aten.threshold_backward
        return kept(difference, left, 0).add_(to_right), to_left - kept(difference, right, 0)


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
        if self.kind is Exchange.ADDITIVE and torch.is_grad_enabled():
            both: tuple[Tensor, Tensor] = _Additive.apply(left, right)  # type: ignore[no-untyped-call]
            return both
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

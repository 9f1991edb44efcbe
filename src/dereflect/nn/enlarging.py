"""Enlargement by two that a compiler differentiates rightly."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _enlarged(x: Tensor, align_corners: bool) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=align_corners)


class _Doubled(torch.autograd.Function):
    """PyTorch's own enlargement and its own gradient, which a compiler keeps in one piece.

    Left to itself, Inductor takes the gradient apart into a scatter into zeros; on a CPU, that of PyTorch
    2.13 may read the zeros before the scatter, and every gradient behind the enlargement is lost.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, align_corners: bool) -> Tensor:
        ctx.shape, ctx.align_corners = x.shape, align_corners
        return _enlarged(x, align_corners)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        size = [2 * side for side in ctx.shape[2:]]
        backward = torch.ops.aten.upsample_bilinear2d_backward
        return backward(gradients[0], size, list(ctx.shape), ctx.align_corners, 2.0, 2.0), None


def double(x: Tensor, align_corners: bool = False) -> Tensor:
    """Bilinear enlargement by two.

    Args:
        x: (B, C, H, W).
        align_corners: whether corners lie on corners; else pixel areas are aligned.

    Returns:
        (B, C, 2H, 2W).
    """
    if not x.requires_grad:
        return _enlarged(x, align_corners)
    doubled: Tensor = _Doubled.apply(x, align_corners)  # type: ignore[no-untyped-call]
    return doubled


class Double(nn.Module):
    """`double` as a module without weights."""

    def __init__(self, align_corners: bool = False) -> None:
        super().__init__()
        self.align_corners = align_corners

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, 2H, 2W)."""
        return double(x, self.align_corners)

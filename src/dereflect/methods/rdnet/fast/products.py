"""Matrix products and depthwise convolutions with what follows them, in one pass where oneDNN offers it.

All take and give pictures as (B, H, W, C) or rows as (N, C), and record no gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS_AT_ONCE = 2048
"""Pixels that a chain of products takes at once: few enough to stay near the processor, many enough for the
weights to be read in seldom.
"""

Activation = Literal["none", "gelu"]


@cache
def fused(name: str) -> Any:
    """A fused operation of oneDNN as PyTorch's own compiler uses it; None where this build has none."""
    if not torch.backends.mkldnn.is_available():
        return None
    found = getattr(torch.ops.mkldnn, name, None)
    return found if _works(name, found) else None


def _works(name: str, operation: Any) -> bool:
    """Whether an operation exists with the arguments used here (it is no public interface of PyTorch)."""
    probe, weight = torch.ones(2, 16), torch.ones(16, 16)
    picture, taps = torch.ones(1, 16, 4, 4), torch.ones(16, 1, 3, 3)
    checks: dict[str, Callable[[], Tensor]] = {
        "_linear_pointwise": lambda: (
            operation(probe, weight, None, "gelu", [], "none") - F.gelu(F.linear(probe, weight))
        ),
        "_convolution_pointwise": lambda: (
            operation(picture, taps, None, [1, 1], [1, 1], [1, 1], 16, "gelu", [], "none")
            - F.gelu(F.conv2d(picture, taps, padding=1, groups=16))
        ),
    }
    try:
        return operation is not None and bool(checks[name]().abs().max() < 1e-3)
    except (RuntimeError, NotImplementedError, TypeError, AttributeError):
        return False


def usable(x: Tensor) -> bool:
    """Whether fused operations take this tensor."""
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation = "none") -> Tensor:
    """x W^T + b over the last dimension, then the activation."""
    operation = fused("_linear_pointwise") if usable(x) else None
    if operation is not None:
        return operation(x, weight, bias, activation, [], "none" if activation == "gelu" else "")
    result = F.linear(x, weight, bias)
    return F.gelu(result) if activation == "gelu" else result


def linear_times(x: Tensor, weight: Tensor, bias: Tensor | None, other: Tensor) -> Tensor:
    """(x W^T + b) * other."""
    return _linear_with(x, weight, bias, other, "mul")


def linear_plus(x: Tensor, weight: Tensor, bias: Tensor | None, other: Tensor) -> Tensor:
    """x W^T + b + other."""
    return _linear_with(x, weight, bias, other, "add")


def _linear_with(x: Tensor, weight: Tensor, bias: Tensor | None, other: Tensor, how: str) -> Tensor:
    operation = fused("_linear_pointwise") if usable(x) else None
    if operation is not None and other.dtype == x.dtype:
        rows = operation.binary(x.flatten(0, -2), other.flatten(0, -2), weight, bias, how)
        return rows.view(other.shape)
    result = F.linear(x, weight, bias)
    return result.mul_(other) if how == "mul" else other + result


def parts(x: Tensor) -> tuple[Tensor, ...]:
    """(B, H, W, C) as parts of few rows (n, C) each; views, so that they may be written to."""
    rows = x.view(-1, x.shape[-1])
    return rows.chunk(-(-len(rows) // ROWS_AT_ONCE))


def mlp(x: Tensor, inner: nn.Linear, outer: nn.Linear) -> Tensor:
    """Linear, exact GELU, linear, over the last dimension."""
    return linear(linear(x, inner.weight, inner.bias, "gelu"), outer.weight, outer.bias)


def depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation = "none") -> Tensor:
    """A depthwise convolution of (B, H, W, C) by (C, 1, k, k) that keeps the size, then the activation."""
    first, reach, channels = x.permute(0, 3, 1, 2), weight.shape[-1] // 2, len(weight)
    operation = fused("_convolution_pointwise") if usable(x) else None
    if operation is None or activation == "none":
        result = F.conv2d(first, weight, bias, padding=reach, groups=channels)
        return (F.gelu(result) if activation == "gelu" else result).permute(0, 2, 3, 1)
    result = operation(first, weight, bias, [reach, reach], [1, 1], [1, 1], channels, activation, [], "none")
    return result.permute(0, 2, 3, 1)


def norm(x: Tensor, layer: nn.LayerNorm, scale: Tensor | None = None) -> Tensor:
    """Layer norm over the last dimension, times `scale` (C,), which is folded into the norm's own weights."""
    weight, bias = (layer.weight, layer.bias) if scale is None else (layer.weight * scale, layer.bias * scale)
    return F.layer_norm(x, layer.normalized_shape, weight, bias, layer.eps)

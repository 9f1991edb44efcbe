"""Convolutions by the fastest exact-to-rounding way that PyTorch has for the place at hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Kernel = Callable[[Tensor, Tensor, Tensor | None, int, int], Tensor]

MIN_CHANNELS = 16
"""Below this many channels on either side the fast algorithm's transforms cost more than they save."""
NUMBERS_AT_ONCE = 1 << 20
"""How much of a picture `convolve_to_one` widens at once: 4 MB of float32, less than a processor's cache."""
MANY_CHANNELS = 256
"""From so many on both sides on, products are faster than 1x1 convolutions."""
FEW_ROWS = 256
"""With fewer rows than this, a convolution takes longer to lay out its weights than it saves."""
MIN_PIXELS = 24 * 24
"""Below this many pixels the transform of the weights costs more than it saves."""


@cache
def winograd_kernel() -> Kernel | None:
    """NNPACK's convolution, or None where PyTorch has none that works on this processor.

    NNPACK multiplies transformed tiles (Winograd's minimal filtering, Lavin & Gray 2016), with a fraction of
    the multiplications of the direct sum; results differ from it by about 3e-5 of their deviation.
    """
    available = getattr(torch, "_nnpack_available", None)
    kernel: Kernel | None = getattr(torch, "_nnpack_spatial_convolution", None)
    if available is None or kernel is None or not available():
        return None
    probe, weight = torch.ones(1, 1, 8, 8), torch.ones(1, 1, 3, 3)
    try:
        worked = bool(
            (kernel(probe, weight, torch.zeros(1), 1, 1) - F.conv2d(probe, weight, padding=1)).abs().max()
            < 1e-3
        )
    except RuntimeError:
        return None
    return kernel if worked else None


def prefers_winograd(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether `conv3x3` computes by Winograd's algorithm there, and so wants channels-first tensors."""
    return device.type == "cpu" and dtype is torch.float32 and winograd_kernel() is not None


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve (B, C, H, W) with (O, C, 3, 3), stride 1, zero padding 1, without recording gradients.

    Returns:
        (B, O, H, W): channels-first where `prefers_winograd`, else in the layout of `x`.
    """
    small = min(weight.shape[:2]) < MIN_CHANNELS or x.shape[2] * x.shape[3] < MIN_PIXELS
    kernel = None if small or not prefers_winograd(x.dtype, x.device) else winograd_kernel()
    if kernel is None:
        return F.conv2d(x, weight, bias, padding=1)
    x, weight = x.contiguous(), weight.contiguous()
    if bias is None:
        bias = weight.new_zeros(weight.shape[0])
    if len(x) == 1:
        return kernel(x, weight, bias, 1, 1)
    return torch.cat([kernel(one, weight, bias, 1, 1) for one in torch.split(x, 1)])


def pointwise(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A 1x1 convolution of (B, C, H, W), as the product that it is.

    On many channels that is faster, where `x` lies channels-last.
    """
    weight = conv.weight
    if min(weight.shape[:2]) < MANY_CHANNELS or not x.is_contiguous(memory_format=torch.channels_last):
        return F.conv2d(x, weight, conv.bias)
    return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), conv.bias).permute(0, 3, 1, 2)


def pointwise_product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A 1x1 convolution of (B, C, H, W), channels last, with (O, C, 1, 1), without recording gradients.

    In float32 on the CPU it is oneDNN's, which is half as fast again as a matrix product; PyTorch's own rule
    of thumb takes the latter where there is one thread.
    """
    if x.device.type != "cpu" or x.dtype is not torch.float32 or not torch.backends.mkldnn.is_available():
        return F.conv2d(x, weight, bias)
    found: Tensor = torch.mkldnn_convolution(x, weight, bias, (0, 0), (1, 1), (1, 1), 1)
    return found


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A linear layer without recording gradients, by the fastest way for the place at hand.

    Args:
        x: (.., M, C), contiguous.
        weight: (N, C).
        bias: (N,).

    Returns:
        (.., M, N), contiguous.
    """
    few = x[..., 0].numel() < FEW_ROWS
    if few or x.device.type != "cpu" or x.dtype is not torch.float32:
        return F.linear(x, weight, bias)
    rows = x.view(1, -1, x.shape[-2], x.shape[-1]).permute(0, 3, 1, 2)
    result = pointwise_product(rows, weight[..., None, None], bias)
    return result.permute(0, 2, 3, 1).reshape(*x.shape[:-1], len(weight))


def convolve_to_one(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve (B, C, H, W) with (1, C, 3, 3), zero padding 1, where no gradient is wanted.

    One product for the nine taps, then nine shifted sums, since a convolution to a single channel leaves most
    of a processor's vector unused. In bands of rows where `x` has to be widened to the dtype of the weight.

    Returns:
        (B, 1, H, W) in the dtype of the weight.
    """
    batch, channels, height, width = x.shape
    taps = x.new_empty(batch, 9, height, width, dtype=weight.dtype)
    rows = max(1, NUMBERS_AT_ONCE // (batch * channels * width))
    for top in range(0, height, rows):
        part = x[:, :, top : top + rows].to(weight.dtype)
        products = weight[0].flatten(1).t() @ part.flatten(2)
        taps[:, :, top : top + rows] = products.unflatten(2, part.shape[2:])
    planes = F.pad(taps, (1, 1, 1, 1))
    total = taps.new_zeros(batch, height, width) + (0 if bias is None else bias)
    for k in range(9):
        top, left = divmod(k, 3)
        total += planes[:, k, top : top + height, left : left + width]
    return total[:, None]

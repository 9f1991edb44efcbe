"""Chains of cheap steps in one pass, for bfloat16 pictures on the CPU without gradients.

What lies between two matrix products (norms, gates, depthwise convolutions) does little arithmetic; as
single PyTorch calls it is bound by memory and by the calls. Here each chain reads and writes once. Arithmetic
is float32 within a chain. `usable` says whether a tensor can be treated so; callers have another way.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from dereflect.nn import threads
from dereflect.nn.fused.tables import (
    ADD_LEAKY,
    GELU_GATE,
    SILU,
    CrossedRows,
    DepthwiseRows,
    GatedNormRows,
    NormRows,
    PooledRows,
)

BFLOAT, LANES = torch.bfloat16, 16


class Norm(Protocol):
    """A layer norm over the channels: `torch.nn.LayerNorm`, or `dereflect.nn.mugi.ChannelNorm`."""

    @property
    def weight(self) -> Tensor:
        """Gain, (C,)."""

    @property
    def bias(self) -> Tensor:
        """Offset, (C,)."""

    @property
    def eps(self) -> float:
        """Added to the variance."""


class Taps(NamedTuple):
    """A 3x3 depthwise convolution in float32, as the kernels read it."""

    weights: Tensor
    """(9, C)"""
    bias: Tensor
    """(C,)"""

    @classmethod
    def of(cls, conv: nn.Conv2d) -> Taps:
        """Those of a layer."""
        weights = conv.weight.detach().float().flatten(1).t().contiguous()
        bias = weights.new_zeros(weights.shape[1]) if conv.bias is None else flat_floats(conv.bias)
        return cls(weights, bias)


@lru_cache(maxsize=1)
def _compiler() -> bool:
    return importlib.util.find_spec("numba") is not None


def usable(*tensors: Tensor) -> bool:
    """Whether (B, C, H, W) tensors can be computed with here.

    That is: bfloat16 on the CPU, whole blocks of channels, and no gradient wanted.
    """
    fit = all(x.dtype is BFLOAT and x.device.type == "cpu" and x.shape[1] % LANES == 0 for x in tensors)
    return fit and not torch.is_grad_enabled() and _compiler()


def rows_in_one_piece(x: Tensor) -> Tensor:
    """The same picture with each row channels-last in one piece.

    Bands of such pictures are taken as they are.
    """
    fit = x.stride(1) == 1 and x.stride(3) == x.shape[1]
    return x if fit else x.contiguous(memory_format=torch.channels_last)


def steps_of(x: Tensor) -> tuple[int, int]:
    """Bytes from picture to picture and from row to row."""
    return x.stride(0) * x.element_size(), x.stride(2) * x.element_size()


def flat_floats(x: Tensor) -> Tensor:
    """The numbers of a tensor as float32 in one piece."""
    return x.detach().float().contiguous().flatten()


def _empty(batch: int, channels: int, height: int, width: int, dtype: torch.dtype = BFLOAT) -> Tensor:
    return torch.empty(batch, height, width, channels, dtype=dtype).permute(0, 3, 1, 2)


def _run(kernel: str, tasks: int, table: NamedTuple) -> None:
    from dereflect.nn.fused import kernels

    threads.run(getattr(kernels, kernel), tasks, table)


def normed(x: Tensor, norm: Norm) -> Tensor:
    """Layer norm over the channels of (B, C, H, W)."""
    x = rows_in_one_piece(x)
    y = _empty(*x.shape)
    _norm_rows(x, None, None, None, y, norm)
    return y


def add_norm(
    x: Tensor, scale: Tensor, p: Tensor, norm: Norm | None = None, out: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """x + scale * p, with a scale for each channel, and its layer norm if one is given.

    The sum goes to `out` (contiguous, channels last), if given.
    """
    x, p = rows_in_one_piece(x), p.contiguous(memory_format=torch.channels_last)
    kept = _empty(*x.shape) if out is None else out
    y = _empty(*x.shape) if norm else None
    _norm_rows(x, flat_floats(scale), p, kept, y, norm)
    return kept, y


def _norm_rows(
    x: Tensor,
    scale: Tensor | None,
    p: Tensor | None,
    kept: Tensor | None,
    y: Tensor | None,
    norm: Norm | None,
) -> None:
    batch, channels, height, width = x.shape
    x_batch, x_row = steps_of(x)
    table = NormRows(
        width=width, channels=channels, height=height, x=x, x_batch=x_batch, x_row=x_row, p=p, kept=kept, y=y,
        weight=None if norm is None else flat_floats(norm.weight),
        bias=None if norm is None else flat_floats(norm.bias),
        scale=scale, eps=0.0 if norm is None else norm.eps,
    )  # fmt: skip
    _run("norm_rows", batch * height, table)


def gated_norm_(z: Tensor, y: Tensor, norm: Norm) -> Tensor:
    """norm(y) * silu(z), in place of z; y (B, C, H, W) in float32, z contiguous (B, H, W, C)."""
    y = rows_in_one_piece(y)
    batch, channels, height, width = y.shape
    y_batch, y_row = steps_of(y)
    table = GatedNormRows(
        width=width, channels=channels, height=height, y=y, y_batch=y_batch, y_row=y_row, z=z,
        weight=flat_floats(norm.weight), bias=flat_floats(norm.bias), eps=norm.eps,
    )  # fmt: skip
    _run("gated_norm_rows", batch * height, table)
    return z


def _depthwise(
    then: int, x: Tensor, taps: Taps, border: tuple[int, int], dilation: int, out: Tensor,
    coefficients: Tensor | None = None,
) -> Tensor:  # fmt: skip
    x = rows_in_one_piece(x)
    batch, wide, rows, width = x.shape
    channels, height = out.shape[1], out.shape[2]
    (x_batch, x_row), (out_batch, out_row) = steps_of(x), steps_of(out)
    table = DepthwiseRows(
        then=then, width=width, wide=wide, channels=channels, height=height, dilation=dilation,
        x=x, x_batch=x_batch, x_row=x_row, rows=rows, skipped=dilation - border[0],
        weights=taps.weights, bias=taps.bias, out=out, out_batch=out_batch, out_row=out_row,
        coefficients=coefficients,
    )  # fmt: skip
    _run("depthwise_rows", batch * height, table)
    return out


def gelu_gate(x: Tensor, taps: Taps, border: tuple[int, int]) -> Tensor:
    """Depthwise 3x3 convolution, then GELU of the first half times the second.

    Args:
        x: (B, 2C, h, W), a band that carries one neighbouring row where it has one.
        taps: of the convolution.
        border: rows that are missing above and below, since they are outside of the picture.
    """
    out = _empty(x.shape[0], x.shape[1] // 2, x.shape[2] - 2 + sum(border), x.shape[3])
    return _depthwise(GELU_GATE, x, taps, border, 1, out)


def silu(x: Tensor, taps: Taps, border: tuple[int, int], out: Tensor | None = None) -> Tensor:
    """Depthwise 3x3 convolution and SiLU, in float32, to `out` if given; arguments as of `gelu_gate`."""
    if out is None:
        out = _empty(x.shape[0], x.shape[1], x.shape[2] - 2 + sum(border), x.shape[3], torch.float32)
    return _depthwise(SILU, x, taps, border, 1, out)


def add_leaky_(out: Tensor, x: Tensor, taps: Taps, dilation: int, scale: Tensor) -> Tensor:
    """out += scale * leaky(depthwise(x)) of whole pictures, scale (B,)."""
    spread = scale.float()[:, None].expand(-1, x.shape[1]).contiguous()
    return _depthwise(ADD_LEAKY, x, taps, (dilation, dilation), dilation, out, spread)


def crossed_gate(
    x: Tensor,
    y: Tensor,
    taps: Taps | None = None,
    border: tuple[int, int] = (0, 0),
    out: Sequence[Tensor | None] = (None, None),
) -> tuple[Tensor, Tensor, Tensor]:
    """Depthwise 3x3 convolution of two streams (if there are taps), then their crossed gate.

    The first half of each times the second of the other; to `out` (contiguous, channels last), if given.

    Returns:
        (u, v, (B, h, 2C) sums of both over the rows, meaningless without convolution).
    """
    x, y = rows_in_one_piece(x), rows_in_one_piece(y)
    if x.stride() != y.stride():
        x, y = (part.contiguous(memory_format=torch.channels_last) for part in (x, y))
    batch, wide, rows, width = x.shape
    height = rows if taps is None else rows - 2 + sum(border)
    u, v = (_empty(batch, wide // 2, height, width) if room is None else room for room in out)
    sums = torch.empty(batch, height, wide)
    batch_step, row_step = steps_of(x)
    table = CrossedRows(
        width=width, wide=wide, height=height, x=x, y=y, batch_step=batch_step, row_step=row_step, rows=rows,
        skipped=0 if taps is None else 1 - border[0], weights=None if taps is None else taps.weights,
        bias=None if taps is None else taps.bias, u=u, v=v, sums=sums,
    )  # fmt: skip
    _run("crossed_rows", batch * height, table)
    return u, v, sums


def pooled(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and maximum (B, C) over the pixels, in float32."""
    x = rows_in_one_piece(x)
    batch, channels, height, width = x.shape
    sums, tops = torch.empty(batch, height, channels), torch.empty(batch, height, channels)
    x_batch, x_row = steps_of(x)
    table = PooledRows(
        width=width, channels=channels, height=height, x=x, x_batch=x_batch, x_row=x_row, sums=sums, tops=tops
    )
    _run("pooled_rows", batch * height, table)
    return sums.sum(1) / (height * width), tops.amax(1)

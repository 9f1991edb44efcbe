"""What the kernels of `dereflect.nn.fused` are given.

Steps from row to row and picture to picture are bytes; pictures without steps lie in one piece, channels
last.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

GELU_GATE, SILU, ADD_LEAKY = 0, 1, 2
"""What follows a depthwise convolution; see the functions of the same names in `dereflect.nn.fused`."""


class NormRows(NamedTuple):
    """y = norm(x + scale * p), and what went into the norm to `kept`; `p` or `y` may be absent."""

    width: int
    channels: int
    height: int
    x: Tensor
    x_batch: int
    x_row: int
    p: Tensor | None
    kept: Tensor | None
    y: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    scale: Tensor | None
    """of each channel, for p"""
    eps: float


class GatedNormRows(NamedTuple):
    """z = norm(y) * silu(z), y in float32."""

    width: int
    channels: int
    height: int
    y: Tensor
    y_batch: int
    y_row: int
    z: Tensor
    weight: Tensor
    bias: Tensor
    eps: float


class DepthwiseRows(NamedTuple):
    """A 3x3 depthwise convolution of a band of rows, and what follows it."""

    then: int
    """one of `GELU_GATE`, `SILU` and `ADD_LEAKY`"""
    width: int
    wide: int
    """channels of x"""
    channels: int
    """channels of out"""
    height: int
    """rows of out"""
    dilation: int
    x: Tensor
    x_batch: int
    x_row: int
    rows: int
    """rows of x, its neighbours included"""
    skipped: int
    """rows of x above the first row of out"""
    weights: Tensor
    bias: Tensor
    out: Tensor
    out_batch: int
    out_row: int
    coefficients: Tensor | None
    """(B, channels), for `ADD_LEAKY`"""


class CrossedRows(NamedTuple):
    """Depthwise 3x3 convolutions (without weights: none) of two streams that gate each other."""

    width: int
    wide: int
    """channels of x and of y; u and v have half of them"""
    height: int
    x: Tensor
    y: Tensor
    batch_step: int
    row_step: int
    rows: int
    """rows of x and y, their neighbours included"""
    skipped: int
    """rows of x and y above the first row of u and v"""
    weights: Tensor | None
    bias: Tensor | None
    u: Tensor
    v: Tensor
    sums: Tensor
    """(B, height, wide), for the means"""


class PooledRows(NamedTuple):
    """Sum and maximum of each channel over a row."""

    width: int
    channels: int
    height: int
    x: Tensor
    x_batch: int
    x_row: int
    sums: Tensor
    tops: Tensor

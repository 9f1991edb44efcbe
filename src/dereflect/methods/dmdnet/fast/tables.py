"""What the kernels of `dereflect.methods.dmdnet.fast.mixing` are given, by name."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

PIXELS_A_TASK = 128


class MixedSlots(NamedTuple):
    """y = leaky(y + bias + the values of the two best slots, mixed by softmax of their scores)."""

    pixels: int
    slots: int
    channels: int
    scores: Tensor
    values: Tensor
    bias: Tensor
    y: Tensor


class MixedMatrices(NamedTuple):
    """B and C of a scan of 16 states: those of the features and of depth, mixed by the share of depth."""

    width: int
    wide: int
    """numbers of a pixel of raw"""
    rank: int
    raw: Tensor
    depth: Tensor
    depth_row: int
    """bytes from row to row, as the other steps"""
    share: Tensor
    share_row: int
    B: Tensor
    C: Tensor
    direction: int
    """bytes from the first direction of B and C to the second"""

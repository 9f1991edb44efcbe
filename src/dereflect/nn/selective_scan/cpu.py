"""The selective scan on the CPU: sixteen channels in vector registers, orders followed in place, both cores.

Sequences lie channels-last in memory, (L, channels), so that a step reads neighbouring channels at one place
of the picture: following an order is a jump from row to row, and no permuted copy is ever made. The backward
pass recomputes the states from checkpoints kept every `CHUNK` steps. Float32 only; needs Numba (the extra
``fast``).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from dereflect.nn import threads
from dereflect.nn.selective_scan.inputs import ScanInputs
from dereflect.nn.selective_scan.kernels import (
    CHUNK,
    BackwardScan,
    ForwardScan,
    scan_backward,
    scan_forward,
)
from dereflect.nn.simd.lanes import LANES


class _Rows(NamedTuple):
    """Contiguous channels-last inputs, their channels padded to a multiple of sixteen in each group."""

    u: Tensor
    """(B, 1 or G, L, D)"""
    delta: Tensor
    """(B, G, L, D or rank)"""
    A: Tensor
    """(G * D, N)"""
    B: Tensor
    """(B, G, L, N)"""
    C: Tensor
    skip: Tensor
    """(G * D,)"""
    bias: Tensor
    order: Tensor
    """(B, L)"""

    @property
    def tasks(self) -> int:
        """Blocks of sixteen channels, of each group and picture."""
        batch, groups = self.delta.shape[:2]
        return batch * groups * self.u.shape[3] // LANES

    def fields(self) -> dict[str, Any]:
        """What both kernels' tables hold of it: the tensors, and their sizes."""
        groups = self.delta.shape[1]
        return self._asdict() | {
            "groups": groups,
            "length": self.u.shape[2],
            "channels": self.u.shape[3],
            "states": self.B.shape[3],
            "shared": self.u.shape[1] == 1 and groups > 1,
        }


def _forward(
    rows: _Rows, softplus: bool, reverse: bool, keep: bool, weight: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """y (B, G, L, D), and the states every `CHUNK` steps if they are to be kept (else nothing)."""
    batch, groups, length = rows.delta.shape[:3]
    chunks = -(-length // CHUNK)
    kept = torch.empty(rows.tasks if keep else 0, chunks, rows.B.shape[3] * LANES)
    y = torch.empty(batch, groups, length, rows.u.shape[3])
    table = ForwardScan(
        **rows.fields(), rank=0 if weight is None else weight.shape[1], reverse=reverse,
        softplus=softplus, keep=keep, weight=weight, y=y, kept=kept,
    )  # fmt: skip
    threads.run(scan_forward, rows.tasks, table)
    return y, kept


class _CpuScan(torch.autograd.Function):
    """Channels-last scan of all groups, for gradients."""

    @staticmethod
    def forward(context: Any, softplus: bool, reverse: bool, *inputs: Tensor) -> Tensor:
        rows = _Rows(*inputs)
        wanted = any(context.needs_input_grad)
        y, kept = _forward(rows, softplus, reverse, wanted)
        if wanted:
            context.save_for_backward(*rows, kept)
            context.softplus, context.reverse = softplus, reverse
        return y

    @staticmethod
    def backward(context: Any, grad_y: Tensor) -> Any:
        *inputs, kept = context.saved_tensors
        rows = _Rows(*inputs)
        batch, groups, length, channels = rows.delta.shape
        states, blocks = rows.B.shape[3], channels // LANES
        grad_u, grad_delta = torch.empty_like(rows.delta), torch.empty_like(rows.delta)
        grad_A = torch.empty(batch, groups, blocks, states, LANES)
        grad_B, grad_C = (torch.empty(batch, groups, blocks, length, states) for _ in "BC")
        grad_skip, grad_bias = (torch.empty(batch, groups * channels) for _ in "Db")
        table = BackwardScan(
            **rows.fields(), reverse=context.reverse, softplus=context.softplus, kept=kept,
            grad_y=grad_y.contiguous(), grad_u=grad_u, grad_delta=grad_delta, grad_A=grad_A, grad_B=grad_B,
            grad_C=grad_C, grad_skip=grad_skip, grad_bias=grad_bias,
        )  # fmt: skip
        threads.run(scan_backward, rows.tasks, table)
        into_A = grad_A.sum(0).permute(0, 1, 3, 2).reshape(rows.A.shape)
        into_u = grad_u.sum(1, keepdim=True) if rows.u.shape[1] < groups else grad_u
        return (
            None, None, into_u, grad_delta, into_A, grad_B.sum(2), grad_C.sum(2), grad_skip.sum(0),
            grad_bias.sum(0), None,
        )  # fmt: skip


def selective_scan_cpu(inputs: ScanInputs) -> Tensor:
    """Fast scan of float32 CPU tensors; see `dereflect.nn.selective_scan.selective_scan`.

    `delta_weight` is taken here without gradients only; step sizes then never exist as a whole.
    """
    u, delta, A, B, C, D, delta_bias, softplus, order, weight = inputs
    batch, channels, length = u.shape
    groups, ordered = inputs.groups, order is not None
    per_group = channels if ordered else channels // groups
    skip, bias = (u.new_zeros(A.shape[0]) if x is None else x for x in (D, delta_bias))
    if order is None:
        order = torch.arange(length).expand(batch, -1)
    # Channels last, which costs nothing for the transposed views that channels-last callers pass.
    sequence = u.reshape(batch, -1, per_group, length).transpose(2, 3)
    steps = delta.reshape(batch, groups, -1, length).transpose(2, 3)
    missing = -per_group % LANES
    if missing:
        sequence = F.pad(sequence, (0, missing))
        if weight is None:
            steps = F.pad(steps, (0, missing))
        else:
            weight = F.pad(weight.unflatten(0, (groups, -1)), (0, 0, 0, missing)).flatten(0, 1)
        A = F.pad(A.reshape(groups, per_group, -1), (0, 0, 0, missing)).flatten(0, 1)
        skip, bias = (F.pad(x.reshape(groups, per_group), (0, missing)).flatten() for x in (skip, bias))
    given = (sequence, steps, A, B.transpose(2, 3), C.transpose(2, 3), skip, bias, order)
    rows = _Rows(*(x.contiguous() for x in given))
    if weight is None:
        y = _CpuScan.apply(softplus, ordered, *rows)  # type: ignore[no-untyped-call]
    else:
        y, _ = _forward(rows, softplus, ordered, keep=False, weight=weight.contiguous())
    if missing:
        y = y[..., :per_group]
    if ordered:
        if y.requires_grad:
            return y.sum(1).transpose(1, 2)
        forth, back = y.unbind(1)
        return forth.add_(back).transpose(1, 2)  # in place: no third table of the largest size
    return y.transpose(2, 3).reshape(batch, channels, length)

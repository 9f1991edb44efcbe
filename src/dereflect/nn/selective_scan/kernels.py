"""The CPU scan's compiled loops: a task is a picture, a direction and a block of sixteen channels.

The steps themselves are in `dereflect.nn.selective_scan.steps`. Importing this module imports Numba (the
extra ``fast``).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import carray, njit
from torch import Tensor

from dereflect.nn.selective_scan.steps import (
    advance,
    prefetch,
    projected_step_sizes,
    recompute,
    retreat,
    step_sizes,
)
from dereflect.nn.simd.kernel import kernel
from dereflect.nn.simd.lanes import LANES
from dereflect.nn.simd.vectors import floats_at, next_task, words_at

CHUNK = 32
"""Steps between the states that are kept for the backward pass."""
AHEAD = 6
"""Steps between asking for a row and using it."""


class ForwardScan(NamedTuple):
    """Everything is float32 in one piece, channels last, but the order."""

    groups: int
    length: int
    channels: int
    """of a group, a multiple of sixteen"""
    states: int
    rank: int
    """of the step sizes: how many factors `delta` holds of each; 0 where it holds the step sizes"""
    shared: bool
    """whether all groups scan the same sequence"""
    reverse: bool
    """whether the second group is scanned from the end"""
    softplus: bool
    keep: bool
    """whether states are wanted for the backward pass"""
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
    """(B, L) int64"""
    weight: Tensor | None
    """(G * D, rank)"""
    y: Tensor
    """(B, G, L, D), written"""
    kept: Tensor
    """(tasks, chunks, N * 16), written if they are to be kept"""


class BackwardScan(NamedTuple):
    """As `ForwardScan`, and the gradients that are written."""

    groups: int
    length: int
    channels: int
    states: int
    shared: bool
    reverse: bool
    softplus: bool
    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    skip: Tensor
    bias: Tensor
    order: Tensor
    kept: Tensor
    grad_y: Tensor
    grad_u: Tensor
    """(B, G, L, D)"""
    grad_delta: Tensor
    """(B, G, L, D)"""
    grad_A: Tensor  # noqa: N815 - the papers' names
    """(tasks, N * 16)"""
    grad_B: Tensor  # noqa: N815 - the papers' names
    """(tasks, L, N)"""
    grad_C: Tensor  # noqa: N815 - the papers' names
    """(tasks, L, N)"""
    grad_skip: Tensor
    """(tasks, 16)"""
    grad_bias: Tensor
    """(tasks, 16)"""


@njit(inline="always")  # type: ignore[untyped-decorator]
def _lanes_first(rows: Any, first: int, table: Any) -> None:
    """Sixteen rows of a matrix, transposed into a table: (columns, 16)."""
    for n in range(rows.shape[1]):
        for lane in range(LANES):
            table[n * LANES + lane] = rows[first + lane, n]


@kernel(ForwardScan)
def scan_forward(pointer: Any) -> None:
    """y, and every `CHUNK` steps the states if they are to be kept."""
    t = carray(pointer, 1)[0]
    groups, length, channels, states, rank = t.groups, t.length, t.channels, t.states, t.rank
    keep, softplus, blocks, table = t.keep != 0, t.softplus != 0, channels // LANES, states * LANES
    u, delta, B, C = floats_at(t.u), floats_at(t.delta), floats_at(t.B), floats_at(t.C)
    skip, bias, y = floats_at(t.skip), floats_at(t.bias), floats_at(t.y)
    A = carray(floats_at(t.A), (groups * channels, states))
    weight = carray(floats_at(t.weight), (groups * channels, rank))
    order = carray(words_at(t.order), (t.tasks // (groups * blocks), length))
    kept = carray(floats_at(t.kept), (t.tasks, (length + CHUNK - 1) // CHUNK, table))
    h, a, step = np.empty(table, np.float32), np.empty(table, np.float32), np.empty(LANES, np.float32)
    w = np.empty(rank * LANES, np.float32)
    wide = rank if rank else channels
    while True:
        task = next_task(pointer)
        if task >= t.tasks:
            return
        block, group, batch = task % blocks, task // blocks % groups, task // blocks // groups
        channel = group * channels + block * LANES
        _lanes_first(A, channel, a)
        _lanes_first(weight, channel, w)
        in_delta = 0 if rank else block * LANES
        h[:] = 0
        rows = (batch * groups + group) * length
        u_rows = batch * length if t.shared != 0 else rows
        backwards = t.reverse != 0 and group == 1
        for i in range(length):
            if keep and i % CHUNK == 0:
                kept[task, i // CHUNK] = h
            ahead = i + AHEAD
            if ahead < length:
                place = order[batch, length - 1 - ahead if backwards else ahead]
                prefetch(u, (u_rows + place) * channels + block * LANES)
                prefetch(delta, (rows + place) * wide + in_delta)
                prefetch(B, (rows + place) * states)
                prefetch(C, (rows + place) * states)
                prefetch(y, (rows + place) * channels + block * LANES)
            place = order[batch, length - 1 - i if backwards else i]
            here = (rows + place) * channels + block * LANES
            if rank:
                projected_step_sizes(delta, (rows + place) * rank, rank, w, bias, channel, softplus, step)
            else:
                step_sizes(delta, here, bias, channel, softplus, step)
            advance(
                u, (u_rows + place) * channels + block * LANES, step, a, B, C, (rows + place) * states,
                states, skip, channel, h, y, here,
            )  # fmt: skip


@kernel(BackwardScan)
def scan_backward(pointer: Any) -> None:
    """The gradients: states are computed again chunk by chunk, then walked through from the end."""
    t = carray(pointer, 1)[0]
    groups, length, channels, states = t.groups, t.length, t.channels, t.states
    softplus, blocks, table = t.softplus != 0, channels // LANES, states * LANES
    chunks = (length + CHUNK - 1) // CHUNK
    u, delta, B, C = floats_at(t.u), floats_at(t.delta), floats_at(t.B), floats_at(t.C)
    skip, bias, grad_y = floats_at(t.skip), floats_at(t.bias), floats_at(t.grad_y)
    grad_u, grad_delta = floats_at(t.grad_u), floats_at(t.grad_delta)
    grad_B, grad_C = floats_at(t.grad_B), floats_at(t.grad_C)
    A = carray(floats_at(t.A), (groups * channels, states))
    order = carray(words_at(t.order), (t.tasks // (groups * blocks), length))
    kept = carray(floats_at(t.kept), (t.tasks, chunks, table))
    grad_A = carray(floats_at(t.grad_A), (t.tasks, table))
    grad_skip = carray(floats_at(t.grad_skip), (t.tasks, LANES))
    grad_bias = carray(floats_at(t.grad_bias), (t.tasks, LANES))
    g, a = np.empty(table, np.float32), np.empty(table, np.float32)
    steps = np.empty(CHUNK * LANES, np.float32)
    h, decays = np.empty((CHUNK + 1) * table, np.float32), np.empty(CHUNK * table, np.float32)
    while True:
        task = next_task(pointer)
        if task >= t.tasks:
            return
        block, group, batch = task % blocks, task // blocks % groups, task // blocks // groups
        channel = group * channels + block * LANES
        _lanes_first(A, channel, a)
        g[:] = 0
        into_A, into_skip, into_bias = grad_A[task], grad_skip[task], grad_bias[task]
        into_A[:] = 0
        into_skip[:] = 0
        into_bias[:] = 0
        rows = (batch * groups + group) * length
        u_rows = batch * length if t.shared != 0 else rows
        backwards = t.reverse != 0 and group == 1
        for chunk in range(chunks - 1, -1, -1):
            start = chunk * CHUNK
            count = min(CHUNK, length - start)
            h[:table] = kept[task, chunk]
            for i in range(count):
                place = order[batch, length - 1 - start - i if backwards else start + i]
                here = (rows + place) * channels + block * LANES
                size = steps[i * LANES : (i + 1) * LANES]
                step_sizes(delta, here, bias, channel, softplus, size)
                recompute(
                    u, (u_rows + place) * channels + block * LANES, size, a, B, (rows + place) * states,
                    states, h, (i + 1) * table, decays, i * table,
                )  # fmt: skip
            for i in range(count - 1, -1, -1):
                place = order[batch, length - 1 - start - i if backwards else start + i]
                here = (rows + place) * channels + block * LANES
                retreat(
                    u, (u_rows + place) * channels + block * LANES, delta, here, bias, channel, softplus,
                    steps, i * LANES, a, B, C, (rows + place) * states, states, skip, h, i * table, decays,
                    grad_y, here, g, into_A, grad_u, grad_delta, grad_B, grad_C, (task * length + place) *
                    states, into_skip, into_bias,
                )  # fmt: skip

"""The selective scan on the CPU: sixteen channels in vector registers, orders followed in place, both cores.

Sequences lie channels-last in memory, (L, channels), so that a step reads neighbouring channels at one place
of the picture: following an order is a jump from row to row, and no permuted copy is ever made. The backward
pass recomputes the states from checkpoints kept every `CHUNK` steps. Float32 only; needs Numba (the extra
``fast``).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numba import carray, cfunc, njit, types
from torch import Tensor
from torch.nn import functional as F

from dereflect.nn import threads
from dereflect.nn.selective_scan.steps import (
    advance,
    exp_lanes,
    prefetch,
    projected_step_sizes,
    recompute,
    retreat,
    step_sizes,
)
from dereflect.nn.simd.lanes import LANES
from dereflect.nn.simd.vectors import floats_at, next_task, words_at

CHUNK = 32
AHEAD = 6  # steps between asking for a row and using it


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _forward(
    first: int, last: int, sizes: Any, u: Any, delta: Any, A: Any, B: Any, C: Any, skip: Any, bias: Any,
    softplus: bool, order: Any, y: Any, kept: Any, weight: Any,
) -> None:  # fmt: skip
    """Scan the tasks first..last-1: a task is a picture, a direction and a block of sixteen channels.

    With a rank, `delta` holds that many factors of each step, which `weight` makes step sizes of.
    """
    groups, length, channels, states, shared, reverse, rank = sizes
    blocks, table = channels // LANES, states * LANES
    h, a, step = np.empty(table, np.float32), np.empty(table, np.float32), np.empty(LANES, np.float32)
    w = np.empty(rank * LANES, np.float32)
    wide = rank if rank else channels
    for task in range(first, last):
        block, group, batch = task % blocks, task // blocks % groups, task // blocks // groups
        channel = group * channels + block * LANES
        for n in range(states):
            for lane in range(LANES):
                a[n * LANES + lane] = A[(channel + lane) * states + n]
        for n in range(rank):
            for lane in range(LANES):
                w[n * LANES + lane] = weight[(channel + lane) * rank + n]
        in_delta = 0 if rank else block * LANES
        h[:] = 0
        rows = (batch * groups + group) * length
        u_rows = batch * length if shared else rows
        backwards = reverse and group == 1
        for t in range(length):
            if len(kept) and t % CHUNK == 0:
                start = (task * ((length + CHUNK - 1) // CHUNK) + t // CHUNK) * table
                kept[start : start + table] = h
            ahead = t + AHEAD
            if ahead < length:
                place = order[batch * length + (length - 1 - ahead if backwards else ahead)]
                prefetch(u, (u_rows + place) * channels + block * LANES)
                prefetch(delta, (rows + place) * wide + in_delta)
                prefetch(B, (rows + place) * states)
                prefetch(C, (rows + place) * states)
                prefetch(y, (rows + place) * channels + block * LANES)
            place = order[batch * length + (length - 1 - t if backwards else t)]
            here = (rows + place) * channels + block * LANES
            if rank:
                projected_step_sizes(delta, (rows + place) * rank, rank, w, bias, channel, softplus, step)
            else:
                step_sizes(delta, here, bias, channel, softplus, step)
            advance(
                u, (u_rows + place) * channels + block * LANES, step, a, B, C, (rows + place) * states,
                states, skip, channel, h, y, here,
            )  # fmt: skip


@cfunc(types.void(types.CPointer(types.int64)), cache=True)  # type: ignore[untyped-decorator]
def _forward_tasks(pointer: Any) -> None:
    """`_forward` on threads of PyTorch: see `dereflect.nn.threads.run`."""
    t = carray(pointer, 32)
    sizes = (t[2], t[3], t[4], t[5], t[6] != 0, t[7] != 0, t[8])
    u, delta = carray(floats_at(t[10]), (t[21],)), carray(floats_at(t[11]), (t[22],))
    A, B, C = (
        carray(floats_at(t[12]), (t[23],)),
        carray(floats_at(t[13]), (t[24],)),
        carray(floats_at(t[14]), (t[25],)),
    )
    skip, bias = carray(floats_at(t[15]), (t[26],)), carray(floats_at(t[16]), (t[27],))
    order, y = carray(words_at(t[17]), (t[28],)), carray(floats_at(t[18]), (t[29],))
    kept, weight = carray(floats_at(t[19]), (t[30],)), carray(floats_at(t[20]), (t[31],))
    while True:
        task = next_task(np.int64(t.ctypes.data))
        if task >= t[1]:
            return
        _forward(task, task + 1, sizes, u, delta, A, B, C, skip, bias, t[9] != 0, order, y, kept, weight)


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _backward(
    first: int, last: int, sizes: Any, u: Any, delta: Any, A: Any, B: Any, C: Any, skip: Any, bias: Any,
    softplus: bool, order: Any, kept: Any, grad_y: Any, grad_u: Any, grad_delta: Any, grad_A: Any, grad_B:
        Any,
    grad_C: Any, grad_skip: Any, grad_bias: Any,
) -> None:  # fmt: skip
    """Gradients of the tasks first..last-1. Per task: grad_A (states, 16), grad_B and grad_C (L, states)."""
    groups, length, channels, states, shared, reverse = sizes
    blocks, table = channels // LANES, states * LANES
    chunks = (length + CHUNK - 1) // CHUNK
    g, a = np.empty(table, np.float32), np.empty(table, np.float32)
    steps = np.empty(CHUNK * LANES, np.float32)
    h, decays = np.empty((CHUNK + 1) * table, np.float32), np.empty(CHUNK * table, np.float32)
    for task in range(first, last):
        block, group, batch = task % blocks, task // blocks % groups, task // blocks // groups
        channel = group * channels + block * LANES
        for n in range(states):
            for lane in range(LANES):
                a[n * LANES + lane] = A[(channel + lane) * states + n]
        g[:] = 0
        into_A = grad_A[task * table : (task + 1) * table]
        into_skip = grad_skip[task * LANES : (task + 1) * LANES]
        into_bias = grad_bias[task * LANES : (task + 1) * LANES]
        into_A[:] = 0
        into_skip[:] = 0
        into_bias[:] = 0
        rows = (batch * groups + group) * length
        u_rows = batch * length if shared else rows
        backwards = reverse and group == 1
        for chunk in range(chunks - 1, -1, -1):
            start = chunk * CHUNK
            count = min(CHUNK, length - start)
            h[:table] = kept[(task * chunks + chunk) * table : (task * chunks + chunk + 1) * table]
            for i in range(count):
                t = start + i
                place = order[batch * length + (length - 1 - t if backwards else t)]
                here = (rows + place) * channels + block * LANES
                step_sizes(delta, here, bias, channel, softplus, steps[i * LANES : (i + 1) * LANES])
                recompute(
                    u, (u_rows + place) * channels + block * LANES, steps[i * LANES : (i + 1) * LANES], a, B,
                    (rows + place) * states, states, h, (i + 1) * table, decays, i * table,
                )  # fmt: skip
            for i in range(count - 1, -1, -1):
                t = start + i
                place = order[batch * length + (length - 1 - t if backwards else t)]
                here = (rows + place) * channels + block * LANES
                retreat(
                    u, (u_rows + place) * channels + block * LANES, delta, here, bias, channel, softplus,
                    steps, i * LANES, a, B, C, (rows + place) * states, states, skip, h, i * table, decays,
                    grad_y, here, g, into_A, grad_u, grad_delta, grad_B, grad_C, (task * length + place) *
                    states, into_skip, into_bias,
                )  # fmt: skip


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _exp(source: Any, target: Any) -> None:
    for start in range(0, len(source), LANES):
        exp_lanes(source, target, start)


def fast_exp(x: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The exponential that the kernel uses, for testing; the length must be a multiple of 16."""
    result = np.empty_like(x)
    _exp(x, result)
    return result


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="selective-scan")


def _share(kernel: Callable[..., None], tasks: int, *arguments: Any) -> None:
    """Run a kernel over all tasks on as many threads as PyTorch uses. Kernels hold no lock of the
    interpreter.
    """
    threads = max(1, min(torch.get_num_threads(), tasks))
    if threads == 1:
        kernel(0, tasks, *arguments)
        return
    bounds = [round(i * tasks / threads) for i in range(threads + 1)]
    pool = _pool(threads)
    jobs = [pool.submit(kernel, bounds[i], bounds[i + 1], *arguments) for i in range(1, threads)]
    kernel(bounds[0], bounds[1], *arguments)
    for job in jobs:
        job.result()


def _launch(
    inputs: tuple[Tensor, ...], softplus: bool, order: Tensor, reverse: bool, keep: bool,
    weight: Tensor | None = None,
) -> tuple[Tensor, Tensor, tuple[Any, ...]]:  # fmt: skip
    """Run `_forward` on all tasks: (y, checkpoints of the states if they are to be kept, sizes)."""
    u, delta, _, B = inputs[:4]
    batch, groups, length = delta.shape[:3]
    channels, rank = (delta.shape[3], 0) if weight is None else (u.shape[3], delta.shape[3])
    sizes = (groups, length, channels, B.shape[-1], u.shape[1] == 1 and groups > 1, reverse, rank)
    tasks = batch * groups * channels // LANES
    kept = torch.empty(tasks * -(-length // CHUNK) * B.shape[-1] * LANES if keep else 0)
    y = torch.empty(batch, groups, length, channels)
    factors = torch.empty(0) if weight is None else weight
    arrays = [x.detach().reshape(-1) for x in (*inputs, order, y, kept, factors)]  # in the order of _forward
    addresses, lengths = [x.data_ptr() for x in arrays], [x.numel() for x in arrays]
    threads.run(_forward_tasks, tasks, [*map(int, sizes), int(softplus), *addresses, *lengths])
    return y, kept, sizes


class _Scan(torch.autograd.Function):
    """Channels-last scan of all groups: u (B, 1 or G, L, D), delta (B, G, L, D), B and C (B, G, L, N)."""

    @staticmethod
    def forward(
        context: Any, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, skip: Tensor, bias: Tensor,
        softplus: bool, order: Tensor, reverse: bool,
    ) -> Tensor:  # fmt: skip
        wanted = any(context.needs_input_grad)
        inputs = (u, delta, A, B, C, skip, bias)
        y, kept, sizes = _launch(inputs, softplus, order, reverse, wanted)
        if wanted:
            context.save_for_backward(*inputs, order, kept)
            context.sizes, context.softplus = sizes, softplus
        return y

    @staticmethod
    def backward(context: Any, grad_y: Tensor) -> Any:
        u, delta, A, B, C, skip, bias, order, kept = context.saved_tensors
        batch, groups, length, channels = delta.shape
        states, blocks = B.shape[-1], channels // LANES
        tasks = batch * groups * blocks
        grad_u, grad_delta = torch.empty_like(delta), torch.empty_like(delta)
        grad_A = torch.empty(batch, groups, blocks, states, LANES)
        grad_B, grad_C = (torch.empty(batch, groups, blocks, length, states) for _ in "BC")
        grad_skip, grad_bias = (torch.empty(batch, groups * channels) for _ in "Db")
        _share(
            _backward, tasks, context.sizes[:-1], *map(_flat, (u, delta, A, B, C, skip, bias)),
            context.softplus, *map(_flat, (order, kept, grad_y.contiguous(), grad_u, grad_delta)),
            *map(_flat, (grad_A, grad_B, grad_C, grad_skip, grad_bias)),
        )  # fmt: skip
        into_A = grad_A.sum(0).permute(0, 1, 3, 2).reshape(A.shape)
        into_u = grad_u.sum(1, keepdim=True) if u.shape[1] < groups else grad_u
        return (
            into_u, grad_delta, into_A, grad_B.sum(2), grad_C.sum(2), grad_skip.sum(0), grad_bias.sum(0),
            None, None, None,
        )  # fmt: skip


def _flat(tensor: Tensor) -> np.ndarray[Any, Any]:
    return tensor.detach().reshape(-1).numpy()


def selective_scan_cpu(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = True,
    order: Tensor | None = None,
    delta_weight: Tensor | None = None,
) -> Tensor:
    """Fast scan of float32 CPU tensors; see `dereflect.nn.selective_scan.selective_scan`.

    `delta_weight` is taken here without gradients only; step sizes then never exist as a whole.
    """
    batch, channels, length = u.shape
    groups = B.shape[1]
    ordered = order is not None
    per_group = channels if ordered else channels // groups
    skip = u.new_zeros(A.shape[0]) if D is None else D
    bias = u.new_zeros(A.shape[0]) if delta_bias is None else delta_bias
    if order is None:
        order = torch.arange(length).expand(batch, -1)
    # Channels last, which costs nothing for the transposed views that channels-last callers pass.
    rows = u.reshape(batch, -1, per_group, length).transpose(2, 3)
    steps = delta.reshape(batch, groups, -1, length).transpose(2, 3)
    missing = -per_group % LANES
    if missing:
        rows = F.pad(rows, (0, missing))
        if delta_weight is None:
            steps = F.pad(steps, (0, missing))
        else:
            delta_weight = F.pad(delta_weight.unflatten(0, (groups, -1)), (0, 0, 0, missing)).flatten(0, 1)
        A = F.pad(A.reshape(groups, per_group, -1), (0, 0, 0, missing)).flatten(0, 1)
        skip, bias = (F.pad(x.reshape(groups, per_group), (0, missing)).flatten() for x in (skip, bias))
    inputs = [x.contiguous() for x in (rows, steps, A, B.transpose(2, 3), C.transpose(2, 3), skip, bias)]
    if delta_weight is None:
        y = _Scan.apply(*inputs, delta_softplus, order.contiguous(), ordered)  # type: ignore[no-untyped-call]
    else:
        weight = delta_weight.contiguous()
        y = _launch(tuple(inputs), delta_softplus, order.contiguous(), ordered, False, weight)[0]
    if missing:
        y = y[..., :per_group]
    if ordered:
        if y.requires_grad:
            return y.sum(1).transpose(1, 2)
        forth, back = y.unbind(1)
        return forth.add_(back).transpose(1, 2)  # in place: no third table of the largest size
    return y.transpose(2, 3).reshape(batch, channels, length)

"""Compiled inner loops of `dereflect.methods.dmdnet.fast.mixing`; addresses and steps are bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit

from dereflect.methods.dmdnet.fast.tables import PIXELS_A_TASK, MixedMatrices, MixedSlots
from dereflect.nn.simd.kernel import kernel
from dereflect.nn.simd.vectors import (
    add,
    fma,
    full,
    larger,
    largest,
    leaky,
    low,
    next_task,
    place_of,
    put_full,
    put_low,
    spread,
    times,
    without,
)


@kernel(MixedMatrices)
def mixed_matrices(pointer: Any) -> None:
    """B and C of a scan of 16 states: those of the features and of depth, mixed by the share of depth."""
    t = carray(pointer, 1)[0]
    width, wide, rank, raw, direction = t.width, t.wide, t.rank, t.raw, t.direction
    depth, depth_row, share, share_row, into_B, into_C = t.depth, t.depth_row, t.share, t.share_row, t.B, t.C
    while True:
        row = next_task(pointer)
        if row >= t.tasks:
            return
        for column in range(width):
            weight = low(share + row * share_row + 32 * column)
            rest = fma(weight, spread(np.float32(-1)), spread(np.float32(1)))
            for k in range(2):
                own = raw + 2 * ((row * width + column) * wide + k * (rank + 32) + rank)
                other = depth + row * depth_row + 2 * (64 * column + 32 * k)
                target = k * direction + 64 * (row * width + column)
                put_full(into_B + target, fma(weight, low(other), times(rest, low(own))))
                put_full(into_C + target, fma(weight, low(other + 32), times(rest, low(own + 32))))


@njit(inline="always")  # type: ignore[untyped-decorator]
def _find(scores: int, slots: int, best: float, but: int) -> int:
    """The first slot of a score, one slot left out."""
    for s in range(0, slots, 16):
        value = low(scores + 2 * s)
        if but >= s and but < s + 16:
            value = without(value, np.int64(but - s))
        lane = place_of(value, best)
        if lane < 16:
            return s + lane
    return 0


@kernel(MixedSlots)
def mixed_slots(pointer: Any) -> None:
    """y = leaky(y + bias + the values of the two best slots, mixed by softmax of their scores)."""
    t = carray(pointer, 1)[0]
    pixels, slots, channels = t.pixels, t.slots, t.channels
    scores, values, bias, y = t.scores, t.values, t.bias, t.y
    while True:
        task = next_task(pointer)
        if task >= t.tasks:
            return
        for pixel in range(task * PIXELS_A_TASK, min((task + 1) * PIXELS_A_TASK, pixels)):
            row = scores + 2 * pixel * slots
            m = low(row)
            for s in range(16, slots, 16):
                m = larger(m, low(row + 2 * s))
            best = largest(m)
            first = _find(row, slots, best, -1)
            m = spread(np.float32(-np.inf))
            for s in range(0, slots, 16):
                value = low(row + 2 * s)
                if first >= s and first < s + 16:
                    value = without(value, np.int64(first - s))
                m = larger(m, value)
            second_best = largest(m)
            second = _find(row, slots, second_best, first)
            share = np.float32(1) / (np.float32(1) + np.exp(np.float32(second_best - best)))
            one, other = spread(np.float32(share)), spread(np.float32(np.float32(1) - share))
            here = y + 2 * pixel * channels
            for c in range(0, channels, 16):
                r = add(low(here + 2 * c), full(bias + 4 * c))
                r = fma(one, full(values + 4 * (first * channels + c)), r)
                r = fma(other, full(values + 4 * (second * channels + c)), r)
                put_low(here + 2 * c, leaky(r))

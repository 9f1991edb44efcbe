"""Compiled inner loops of `dereflect.nn.fused`: bfloat16 pictures, channels last, in one pass each.

Every kernel takes one table of int64 numbers: a counter of tasks, their number, then addresses (bytes) and
sizes. A task is a row of a picture. Row strides are in bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, cfunc, njit, types

from dereflect.nn.simd.vectors import (
    add,
    fma,
    full,
    gelu,
    larger,
    largest,
    leaky,
    low,
    next_task,
    place_of,
    put_full,
    put_low,
    silu,
    spread,
    times,
    total,
    without,
)

_KERNEL = types.void(types.CPointer(types.int64))
COLUMNS = 16
"""Columns that a depthwise convolution treats at once, so that their three rows stay in the first cache."""

GELU_GATE, SILU, ADD_LEAKY = 0, 1, 2


@njit(inline="always")  # type: ignore[untyped-decorator]
def _norm(source: int, wide: bool, channels: int, eps: float) -> Any:
    """Mean and 1 / deviation of the channels of a pixel."""
    sums = spread(np.float32(0))
    for c in range(0, channels, 16):
        sums = add(sums, full(source + 4 * c) if wide else low(source + 2 * c))
    mean = total(sums) / np.float32(channels)
    away = spread(np.float32(-mean))
    squares = spread(np.float32(0))
    for c in range(0, channels, 16):
        d = add(full(source + 4 * c) if wide else low(source + 2 * c), away)
        squares = fma(d, d, squares)
    variance = total(squares) / np.float32(channels)
    return away, spread(np.float32(1) / np.sqrt(np.float32(variance + np.float32(eps))))


@cfunc(_KERNEL, cache=True)  # type: ignore[untyped-decorator]
def norm_rows(pointer: Any) -> None:
    """y = norm(x + scale * p), and what went into the norm to `kept`; p and kept may be 0 (absent)."""
    t = carray(pointer, 16)
    width, channels, height = t[2], t[3], t[4]
    x, x_batch, x_row, p, kept, y, weight, bias, scale = (
        t[5],
        t[6],
        t[7],
        t[8],
        t[9],
        t[10],
        t[11],
        t[12],
        t[13],
    )
    eps = np.float64(t[14]) * 1e-9
    while True:
        task = next_task(np.int64(t.ctypes.data))
        if task >= t[1]:
            return
        from_x = x + task // height * x_batch + task % height * x_row
        row = 2 * task * width * channels
        for column in range(width):
            source, here = from_x + 2 * column * channels, row + 2 * column * channels
            if p != 0:
                for c in range(0, channels, 16):
                    value = fma(full(scale + 4 * c), low(p + here + 2 * c), low(source + 2 * c))
                    put_low(kept + here + 2 * c, value)
                source = kept + here
            if y != 0:
                away, rate = _norm(source, False, channels, eps)
                for c in range(0, channels, 16):
                    value = times(add(low(source + 2 * c), away), rate)
                    put_low(y + here + 2 * c, fma(value, full(weight + 4 * c), full(bias + 4 * c)))


@cfunc(_KERNEL, cache=True)  # type: ignore[untyped-decorator]
def gated_norm_rows(pointer: Any) -> None:
    """z = norm(y) * silu(z), y in float32."""
    t = carray(pointer, 16)
    width, channels, height = t[2], t[3], t[4]
    y, y_batch, y_row, z, weight, bias = t[5], t[6], t[7], t[8], t[9], t[10]
    eps = np.float64(t[11]) * 1e-9
    while True:
        task = next_task(np.int64(t.ctypes.data))
        if task >= t[1]:
            return
        from_y = y + task // height * y_batch + task % height * y_row
        for column in range(width):
            source, here = from_y + 4 * column * channels, z + 2 * (task * width + column) * channels
            away, rate = _norm(source, True, channels, eps)
            for c in range(0, channels, 16):
                value = times(add(full(source + 4 * c), away), rate)
                value = fma(value, full(weight + 4 * c), full(bias + 4 * c))
                put_low(here + 2 * c, times(value, silu(low(here + 2 * c))))


@njit(inline="always")  # type: ignore[untyped-decorator]
def _weights(weights: int, stride: int, has_above: bool, has_below: bool) -> Any:
    """Nine taps of sixteen channels; those of a row outside of the picture are zero."""
    zero = spread(np.float32(0))
    a, b, c = zero, zero, zero
    if has_above:
        a, b, c = full(weights), full(weights + stride), full(weights + 2 * stride)
    d, e, f = full(weights + 3 * stride), full(weights + 4 * stride), full(weights + 5 * stride)
    g, h, i = zero, zero, zero
    if has_below:
        g, h, i = full(weights + 6 * stride), full(weights + 7 * stride), full(weights + 8 * stride)
    return a, b, c, d, e, f, g, h, i


@njit(inline="always")  # type: ignore[untyped-decorator]
def _column(
    above: int, here: int, below: int, inside: bool, w: Any, bias: Any, ending: Any, open: Any
) -> Any:
    """One column goes once into the sums of its three neighbours: (finished, ending, open).

    `ending` is the sum of the column before, which lacks this one only, `open` that of this column.
    """
    if not inside:
        return ending, open, bias
    a, b, c = low(above), low(here), low(below)
    finished = fma(a, w[2], fma(b, w[5], fma(c, w[8], ending)))
    ending = fma(a, w[1], fma(b, w[4], fma(c, w[7], open)))
    return finished, ending, fma(a, w[0], fma(b, w[3], fma(c, w[6], bias)))


@cfunc(_KERNEL, cache=True)  # type: ignore[untyped-decorator]
def depthwise_rows(pointer: Any) -> None:
    """A 3x3 depthwise convolution and what follows it: a GELU gate, SiLU, or leaky ReLU, scaled and added."""
    t = carray(pointer, 24)
    kind, width, wide, channels, height, dilation = t[2], t[3], t[4], t[5], t[6], t[7]
    x, x_batch, x_row, rows, skipped, weights, bias = t[8], t[9], t[10], t[11], t[12], t[13], t[14]
    out, out_batch, out_row, coefficients = t[15], t[16], t[17], t[18]
    pixel, stride, half = 2 * wide, 4 * wide, 2 * channels
    while True:
        task = next_task(np.int64(t.ctypes.data))
        if task >= t[1]:
            return
        batch, row = task // height, task % height
        place = row + skipped  # of the row in the band that was given, which carries neighbours
        has_above, has_below = place >= dilation, place + dilation < rows
        middle = x + batch * x_batch + place * x_row
        above = -dilation * x_row if has_above else 0
        below = dilation * x_row if has_below else 0
        into = out + batch * out_batch + row * out_row
        for part in range(0, width, COLUMNS * dilation):
            stop = min(part + COLUMNS * dilation, width)
            for block in range(0, channels, 16):
                c = min(block, channels - 16)
                w = _weights(weights + 4 * c, stride, has_above, has_below)
                b, w2, b2 = full(bias + 4 * c), w, full(bias + 4 * c)
                factor = b
                if kind == 0:
                    w2 = _weights(weights + 4 * c + 2 * half, stride, has_above, has_below)
                    b2 = full(bias + 4 * c + 2 * half)
                if kind == 2:
                    factor = full(coefficients + 4 * (batch * channels + c))
                for first in range(part, min(part + dilation, stop)):
                    ending, open, ending2, open2 = b, b, b2, b2
                    for column in range(first - dilation, stop + dilation, dilation):
                        here = middle + column * pixel + 2 * c
                        inside = column >= 0 and column < width
                        r, ending, open = _column(
                            here + above, here, here + below, inside, w, b, ending, open
                        )
                        before = (column - dilation) * channels + c
                        if kind == 0:
                            here += half
                            value, ending2, open2 = _column(
                                here + above, here, here + below, inside, w2, b2, ending2, open2
                            )
                            if column > first and column - dilation < stop:
                                put_low(into + 2 * before, times(gelu(r), value))
                        elif column > first and column - dilation < stop:
                            if kind == 1:
                                put_full(into + 4 * before, silu(r))
                            else:
                                put_low(into + 2 * before, fma(factor, leaky(r), low(into + 2 * before)))


@cfunc(_KERNEL, cache=True)  # type: ignore[untyped-decorator]
def crossed_rows(pointer: Any) -> None:
    """Depthwise convolutions (weights 0: none) of two streams that gate each other; sums for their means."""
    t = carray(pointer, 24)
    width, wide, height, x, y, x_batch, x_row = t[2], t[3], t[4], t[5], t[6], t[7], t[8]
    rows, skipped, weights, bias, u, v, sums = t[9], t[10], t[11], t[12], t[13], t[14], t[15]
    channels, pixel, stride, half = wide // 2, 2 * wide, 4 * wide, wide
    while True:
        task = next_task(np.int64(t.ctypes.data))
        if task >= t[1]:
            return
        batch, row = task // height, task % height
        place = row + skipped
        start = batch * x_batch + place * x_row
        if weights == 0:
            for c in range(0, width * channels, 16):  # sixteen divide the channels
                here = start + c // channels * pixel + 2 * (c % channels)
                target = 2 * (task * width * channels + c)
                put_low(u + target, times(low(x + here), low(y + here + half)))
                put_low(v + target, times(low(y + here), low(x + here + half)))
            continue
        has_above, has_below = place >= 1, place + 1 < rows
        above, below = -x_row if has_above else 0, x_row if has_below else 0
        for c in range(0, wide, 16):
            put_full(sums + 4 * (task * wide + c), spread(np.float32(0)))
        for first in range(0, width, COLUMNS):
            stop = min(first + COLUMNS, width)
            for c in range(0, channels, 16):
                w = _weights(weights + 4 * c, stride, has_above, has_below)
                w2 = _weights(weights + 4 * c + 2 * half, stride, has_above, has_below)
                b, b2 = full(bias + 4 * c), full(bias + 4 * c + 2 * half)
                for stream in range(2):
                    one, other, into = (x, y, u) if stream == 0 else (y, x, v)
                    summed = spread(np.float32(0))
                    ending, open, ending2, open2 = b, b, b2, b2
                    for column in range(first - 1, stop + 1):
                        here = start + column * pixel + 2 * c
                        inside = column >= 0 and column < width
                        value, ending, open = _column(
                            one + here + above, one + here, one + here + below, inside, w, b, ending, open
                        )
                        here += half
                        gate, ending2, open2 = _column(
                            other + here + above, other + here, other + here + below, inside, w2, b2, ending2,
                            open2,
                        )  # fmt: skip
                        if column > first:
                            product = times(value, gate)
                            put_low(into + 2 * ((task * width + column - 1) * channels + c), product)
                            summed = add(summed, product)
                    total_at = sums + 4 * (task * wide + stream * channels + c)
                    put_full(total_at, add(full(total_at), summed))


@cfunc(_KERNEL, cache=True)  # type: ignore[untyped-decorator]
def pooled_rows(pointer: Any) -> None:
    """Sum and maximum of each channel over a row."""
    t = carray(pointer, 16)
    width, channels, height, x, x_batch, x_row, sums, tops = t[2], t[3], t[4], t[5], t[6], t[7], t[8], t[9]
    while True:
        task = next_task(np.int64(t.ctypes.data))
        if task >= t[1]:
            return
        source = x + task // height * x_batch + task % height * x_row
        for c in range(0, channels, 16):
            s = spread(np.float32(0))
            m = low(source + 2 * c)
            for column in range(width):
                value = low(source + 2 * (column * channels + c))
                s = add(s, value)
                m = larger(m, value)
            put_full(sums + 4 * (task * channels + c), s)
            put_full(tops + 4 * (task * channels + c), m)


@cfunc(_KERNEL, cache=True)  # type: ignore[untyped-decorator]
def mixed_matrices(pointer: Any) -> None:
    """B and C of a scan of 16 states: those of the features and of depth, mixed by the share of depth."""
    t = carray(pointer, 16)
    width, wide, rank, _, raw, depth, depth_row = t[2], t[3], t[4], t[5], t[6], t[7], t[8]
    share, share_row, into_B, into_C, direction, top = t[9], t[10], t[11], t[12], t[13], t[14]
    while True:
        row = next_task(np.int64(t.ctypes.data))
        if row >= t[1]:
            return
        for column in range(width):
            weight = low(share + row * share_row + 32 * column)
            rest = fma(weight, spread(np.float32(-1)), spread(np.float32(1)))
            for k in range(2):
                own = raw + 2 * ((row * width + column) * wide + k * (rank + 32) + rank)
                other = depth + row * depth_row + 2 * (64 * column + 32 * k)
                target = k * direction + 64 * ((top + row) * width + column)
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


@cfunc(_KERNEL, cache=True)  # type: ignore[untyped-decorator]
def mixed_slots(pointer: Any) -> None:
    """y = leaky(y + bias + the values of the two best slots, mixed by softmax of their scores)."""
    t = carray(pointer, 16)
    pixels, slots, channels, scores, values, bias, y = t[2], t[3], t[4], t[5], t[6], t[7], t[8]
    while True:
        task = next_task(np.int64(t.ctypes.data))
        if task >= t[1]:
            return
        for pixel in range(task * 128, min(task * 128 + 128, pixels)):
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

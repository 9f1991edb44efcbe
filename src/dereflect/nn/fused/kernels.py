"""Compiled inner loops of `dereflect.nn.fused`: bfloat16 pictures, channels last, in one pass each.

Each kernel takes a table of `dereflect.nn.fused.tables`; addresses and steps are bytes. A task is a row of a
picture.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit

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
from dereflect.nn.simd.kernel import kernel
from dereflect.nn.simd.vectors import (
    add,
    fma,
    full,
    gelu,
    larger,
    leaky,
    low,
    next_task,
    put_full,
    put_low,
    silu,
    spread,
    times,
    total,
)

COLUMNS = 16
"""Columns that a depthwise convolution treats at once, so that their three rows stay in the first cache."""


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


@kernel(NormRows)
def norm_rows(pointer: Any) -> None:
    """y = norm(x + scale * p), and what went into the norm to `kept`; p and kept may be 0 (absent)."""
    t = carray(pointer, 1)[0]
    width, channels = t.width, t.channels
    p, kept, y, weight, bias, scale, eps = t.p, t.kept, t.y, t.weight, t.bias, t.scale, t.eps
    while True:
        task = next_task(pointer)
        if task >= t.tasks:
            return
        from_x = t.x + task // t.height * t.x_batch + task % t.height * t.x_row
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


@kernel(GatedNormRows)
def gated_norm_rows(pointer: Any) -> None:
    """z = norm(y) * silu(z), y in float32."""
    t = carray(pointer, 1)[0]
    width, channels, weight, bias, eps = t.width, t.channels, t.weight, t.bias, t.eps
    while True:
        task = next_task(pointer)
        if task >= t.tasks:
            return
        from_y = t.y + task // t.height * t.y_batch + task % t.height * t.y_row
        for column in range(width):
            source, here = from_y + 4 * column * channels, t.z + 2 * (task * width + column) * channels
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


@kernel(DepthwiseRows)
def depthwise_rows(pointer: Any) -> None:
    """A 3x3 depthwise convolution and what follows it: a GELU gate, SiLU, or leaky ReLU, scaled and added."""
    t = carray(pointer, 1)[0]
    then, width, channels, dilation = t.then, t.width, t.channels, t.dilation
    weights, bias, x_row = t.weights, t.bias, t.x_row
    pixel, stride, half = 2 * t.wide, 4 * t.wide, 2 * channels
    while True:
        task = next_task(pointer)
        if task >= t.tasks:
            return
        batch, row = task // t.height, task % t.height
        place = row + t.skipped  # of the row in the band that was given, which carries neighbours
        has_above, has_below = place >= dilation, place + dilation < t.rows
        middle = t.x + batch * t.x_batch + place * x_row
        above = -dilation * x_row if has_above else 0
        below = dilation * x_row if has_below else 0
        into = t.out + batch * t.out_batch + row * t.out_row
        for part in range(0, width, COLUMNS * dilation):
            stop = min(part + COLUMNS * dilation, width)
            for block in range(0, channels, 16):
                c = min(block, channels - 16)
                w = _weights(weights + 4 * c, stride, has_above, has_below)
                b, w2, b2 = full(bias + 4 * c), w, full(bias + 4 * c)
                factor = b
                if then == GELU_GATE:
                    w2 = _weights(weights + 4 * c + 2 * half, stride, has_above, has_below)
                    b2 = full(bias + 4 * c + 2 * half)
                if then == ADD_LEAKY:
                    factor = full(t.coefficients + 4 * (batch * channels + c))
                for first in range(part, min(part + dilation, stop)):
                    ending, open, ending2, open2 = b, b, b2, b2
                    for column in range(first - dilation, stop + dilation, dilation):
                        here = middle + column * pixel + 2 * c
                        inside = column >= 0 and column < width
                        r, ending, open = _column(
                            here + above, here, here + below, inside, w, b, ending, open
                        )
                        before = (column - dilation) * channels + c
                        if then == GELU_GATE:
                            here += half
                            value, ending2, open2 = _column(
                                here + above, here, here + below, inside, w2, b2, ending2, open2
                            )
                            if column > first and column - dilation < stop:
                                put_low(into + 2 * before, times(gelu(r), value))
                        elif column > first and column - dilation < stop:
                            if then == SILU:
                                put_full(into + 4 * before, silu(r))
                            else:
                                put_low(into + 2 * before, fma(factor, leaky(r), low(into + 2 * before)))


@kernel(CrossedRows)
def crossed_rows(pointer: Any) -> None:
    """Depthwise convolutions (weights 0: none) of two streams that gate each other; sums for their means."""
    t = carray(pointer, 1)[0]
    width, wide, x, y, u, v, sums = t.width, t.wide, t.x, t.y, t.u, t.v, t.sums
    weights, bias, row_step = t.weights, t.bias, t.row_step
    channels, pixel, stride, half = wide // 2, 2 * wide, 4 * wide, wide
    while True:
        task = next_task(pointer)
        if task >= t.tasks:
            return
        place = task % t.height + t.skipped
        start = task // t.height * t.batch_step + place * row_step
        if weights == 0:
            for c in range(0, width * channels, 16):  # sixteen divide the channels
                here = start + c // channels * pixel + 2 * (c % channels)
                target = 2 * (task * width * channels + c)
                put_low(u + target, times(low(x + here), low(y + here + half)))
                put_low(v + target, times(low(y + here), low(x + here + half)))
            continue
        has_above, has_below = place >= 1, place + 1 < t.rows
        above, below = -row_step if has_above else 0, row_step if has_below else 0
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


@kernel(PooledRows)
def pooled_rows(pointer: Any) -> None:
    """Sum and maximum of each channel over a row."""
    t = carray(pointer, 1)[0]
    width, channels, sums, tops = t.width, t.channels, t.sums, t.tops
    while True:
        task = next_task(pointer)
        if task >= t.tasks:
            return
        source = t.x + task // t.height * t.x_batch + task % t.height * t.x_row
        for c in range(0, channels, 16):
            s = spread(np.float32(0))
            m = low(source + 2 * c)
            for column in range(width):
                value = low(source + 2 * (column * channels + c))
                s = add(s, value)
                m = larger(m, value)
            put_full(sums + 4 * (task * channels + c), s)
            put_full(tops + 4 * (task * channels + c), m)

"""The inner step of the CPU scan for sixteen channels at once, forward and backward, as Numba intrinsics.

Arrays are one-dimensional and contiguous, or pointers; offsets count elements. Importing this module imports
Numba (the extra ``fast``).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dereflect.nn.simd.lanes import LANES, Lanes

_INT, _WORD = ir.IntType(32), ir.IntType(64)


def _pointers(context: Any, builder: Any, signature: Any, arguments: Any) -> list[Any]:
    """Arrays to pointers to their data; what is a pointer or a number already stays."""
    result: list[Any] = []
    for kind, value in zip(signature.args, arguments, strict=True):
        if isinstance(kind, types.Array):
            result.append(context.make_array(kind)(context, builder, value).data)
        else:
            result.append(value)
    return result


def _at(builder: Any, pointer: Any, offset: Any) -> Any:
    return builder.gep(pointer, [offset])


@intrinsic  # type: ignore[untyped-decorator]
def prefetch(typing: Any, array: Any, offset: Any) -> Any:
    """Ask for the cache line of ``array[offset]`` ahead of its use: an order jumps about in memory."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer, place = _pointers(context, builder, signature, arguments)
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, _INT, _INT, _INT])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        address = builder.bitcast(_at(builder, pointer, place), byte)
        builder.call(function, [address, ir.Constant(_INT, 0), ir.Constant(_INT, 3), ir.Constant(_INT, 1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


def _step_size(builder: Any, lanes: Lanes, x: Any, softplus: Any) -> Any:
    """softplus(x) where the flag says so, else x."""
    before, soft = builder.block, builder.append_basic_block("soft")
    after = builder.append_basic_block("after")
    builder.cbranch(softplus, soft, after)
    builder.position_at_end(soft)
    result = lanes.softplus(x)
    builder.branch(after)
    builder.position_at_end(after)
    chosen = builder.phi(x.type)
    chosen.add_incoming(result, soft)
    chosen.add_incoming(x, before)
    return chosen


@intrinsic  # type: ignore[untyped-decorator]
def step_sizes(
    typing: Any, delta: Any, place: Any, bias: Any, channel: Any, softplus: Any, target: Any
) -> Any:
    """target[:16] = delta' = softplus(delta + bias), or delta + bias."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        delta, place, bias, channel, softplus, target = _pointers(context, builder, signature, arguments)
        lanes = Lanes(builder)
        x = lanes.add(lanes.load(_at(builder, delta, place)), lanes.load(_at(builder, bias, channel)))
        lanes.store(_step_size(builder, lanes, x, softplus), target)
        return context.get_dummy_value()

    return types.void(delta, types.intp, bias, types.intp, types.boolean, target), generate


@intrinsic  # type: ignore[untyped-decorator]
def projected_step_sizes(
    typing: Any, factors: Any, place: Any, rank: Any, weight: Any, bias: Any, channel: Any, softplus: Any,
    target: Any,
) -> Any:  # fmt: skip
    """`step_sizes` of delta = weight @ factors, `rank` factors read at `place`; `weight` is (rank, 16)."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        factors, place, rank, weight, bias, channel, softplus, target = _pointers(
            context, builder, signature, arguments
        )
        lanes = Lanes(builder)
        sums = [cgutils.alloca_once_value(builder, lanes.load(_at(builder, bias, channel)))]
        sums += [cgutils.alloca_once_value(builder, lanes.constant(0.0)) for _ in range(2)]
        width, several = ir.Constant(_WORD, LANES), ir.Constant(_WORD, len(sums))

        def take(r: Any, into: Any) -> None:
            factor = lanes.spread(builder.load(_at(builder, factors, builder.add(place, r))))
            row = lanes.load(_at(builder, weight, builder.mul(r, width)))
            builder.store(lanes.multiply_add(factor, row, builder.load(into)), into)

        whole = builder.udiv(rank, several)  # three sums at a time, so that none waits for the one before
        with cgutils.for_range(builder, whole) as loop:
            for k, into in enumerate(sums):
                take(builder.add(builder.mul(loop.index, several), ir.Constant(_WORD, k)), into)
        start = builder.mul(whole, several)
        with cgutils.for_range(builder, builder.sub(rank, start)) as loop:
            take(builder.add(start, loop.index), sums[0])
        one, two, three = (builder.load(part) for part in sums)
        x = lanes.add(lanes.add(one, two), three)
        lanes.store(_step_size(builder, lanes, x, softplus), target)
        return context.get_dummy_value()

    i = types.intp
    return types.void(factors, i, i, weight, bias, i, types.boolean, target), generate


@intrinsic  # type: ignore[untyped-decorator]
def advance(
    typing: Any,
    u: Any,
    u_at: Any,
    step: Any,
    A: Any,
    B: Any,
    C: Any,
    bc_at: Any,
    states: Any,
    skip: Any,
    channel: Any,
    h: Any,
    y: Any,
    y_at: Any,
) -> Any:
    """One time step of sixteen channels: h <- exp(step A) h + step u B, y = C h + skip u.

    `A` and `h` are (states, 16); `step` is 16 long; `B` and `C` are read at `bc_at`, `states` numbers each.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (u, u_at, step, A, B, C, bc_at, states, skip, channel, h, y, y_at) = _pointers(
            context, builder, signature, arguments
        )
        lanes = Lanes(builder)
        x = lanes.load(_at(builder, u, u_at))
        size = lanes.load(step)
        drive = lanes.multiply(size, x)
        total = cgutils.alloca_once_value(builder, lanes.multiply(lanes.load(_at(builder, skip, channel)), x))
        width = ir.Constant(_WORD, LANES)
        with cgutils.for_range(builder, states) as loop:
            row = builder.mul(loop.index, width)
            place = builder.add(bc_at, loop.index)
            decay = lanes.exp(lanes.multiply(size, lanes.load(_at(builder, A, row))))
            b = lanes.spread(builder.load(_at(builder, B, place)))
            c = lanes.spread(builder.load(_at(builder, C, place)))
            state = lanes.multiply_add(decay, lanes.load(_at(builder, h, row)), lanes.multiply(drive, b))
            lanes.store(state, _at(builder, h, row))
            builder.store(lanes.multiply_add(c, state, builder.load(total)), total)
        lanes.store(builder.load(total), _at(builder, y, y_at))
        return context.get_dummy_value()

    i = types.intp
    return types.void(u, i, step, A, B, C, i, i, skip, i, h, y, i), generate


@intrinsic  # type: ignore[untyped-decorator]
def recompute(
    typing: Any,
    u: Any,
    u_at: Any,
    step: Any,
    A: Any,
    B: Any,
    b_at: Any,
    states: Any,
    before: Any,
    after: Any,
    decays: Any,
    row_at: Any,
) -> Any:
    """One time step for the backward pass: reads h at `before`, writes it at `after`.

    It keeps the decay factors.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        u, u_at, step, A, B, b_at, states, h, after, decays, row_at = _pointers(
            context, builder, signature, arguments
        )
        lanes = Lanes(builder)
        size = lanes.load(step)
        drive = lanes.multiply(size, lanes.load(_at(builder, u, u_at)))
        width = ir.Constant(_WORD, LANES)
        with cgutils.for_range(builder, states) as loop:
            row = builder.mul(loop.index, width)
            here = builder.add(row_at, row)
            decay = lanes.exp(lanes.multiply(size, lanes.load(_at(builder, A, row))))
            b = lanes.spread(builder.load(_at(builder, B, builder.add(b_at, loop.index))))
            state = lanes.load(_at(builder, h, here))
            lanes.store(decay, _at(builder, decays, here))
            lanes.store(
                lanes.multiply_add(decay, state, lanes.multiply(drive, b)),
                _at(builder, h, builder.add(after, row)),
            )
        return context.get_dummy_value()

    i = types.intp
    return types.void(u, i, step, A, B, i, i, before, i, decays, i), generate


@intrinsic  # type: ignore[untyped-decorator]
def retreat(
    typing: Any,
    u: Any,
    u_at: Any,
    delta: Any,
    delta_at: Any,
    bias: Any,
    channel: Any,
    softplus: Any,
    step: Any,
    step_at: Any,
    A: Any,
    B: Any,
    C: Any,
    bc_at: Any,
    states: Any,
    skip: Any,
    h: Any,
    row_at: Any,
    decays: Any,
    grad_y: Any,
    y_at: Any,
    g: Any,
    grad_A: Any,
    grad_u: Any,
    grad_delta: Any,
    grad_B: Any,
    grad_C: Any,
    grad_bc_at: Any,
    grad_skip: Any,
    grad_bias: Any,
) -> Any:
    """One step of the backward pass, in reverse time; `g` carries the gradient of the states.

    `h` holds the states before this step at `row_at` and those after it one table further.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (
            u, u_at, delta, delta_at, bias, channel, softplus, step, step_at, A, B, C, bc_at, states, skip, h,
            row_at, decays, grad_y, y_at, g, grad_A, grad_u, grad_delta, grad_B, grad_C, grad_bc_at,
            grad_skip, grad_bias,
        ) = _pointers(context, builder, signature, arguments)  # fmt: skip
        lanes = Lanes(builder)
        x, dy = lanes.load(_at(builder, u, u_at)), lanes.load(_at(builder, grad_y, y_at))
        size = lanes.load(_at(builder, step, step_at))
        drive = lanes.multiply(size, x)
        zero = lanes.constant(0.0)
        to_drive, to_size = cgutils.alloca_once_value(builder, zero), cgutils.alloca_once_value(builder, zero)
        width = ir.Constant(_WORD, LANES)
        table = builder.mul(states, width)
        with cgutils.for_range(builder, states) as loop:
            row = builder.mul(loop.index, width)
            here = builder.add(row_at, row)
            place, grad_place = builder.add(bc_at, loop.index), builder.add(grad_bc_at, loop.index)
            b = lanes.spread(builder.load(_at(builder, B, place)))
            c = lanes.spread(builder.load(_at(builder, C, place)))
            a, decay = lanes.load(_at(builder, A, row)), lanes.load(_at(builder, decays, here))
            state = lanes.load(_at(builder, h, builder.add(here, table)))
            builder.store(lanes.sum(lanes.multiply(dy, state)), _at(builder, grad_C, grad_place))
            inner = lanes.multiply_add(c, dy, lanes.load(_at(builder, g, row)))
            builder.store(lanes.sum(lanes.multiply(inner, drive)), _at(builder, grad_B, grad_place))
            builder.store(lanes.multiply_add(inner, b, builder.load(to_drive)), to_drive)
            passed = lanes.multiply(inner, decay)
            exponent = lanes.multiply(passed, lanes.load(_at(builder, h, here)))  # gradient of step * A
            builder.store(lanes.multiply_add(exponent, a, builder.load(to_size)), to_size)
            for_A = _at(builder, grad_A, row)
            lanes.store(lanes.multiply_add(exponent, size, lanes.load(for_A)), for_A)
            lanes.store(passed, _at(builder, g, row))
        through_drive = builder.load(to_drive)
        into_u = lanes.multiply_add(
            lanes.load(_at(builder, skip, channel)), dy, lanes.multiply(through_drive, size)
        )
        lanes.store(into_u, _at(builder, grad_u, y_at))
        into_size = lanes.multiply_add(through_drive, x, builder.load(to_size))
        raw = lanes.add(lanes.load(_at(builder, delta, delta_at)), lanes.load(_at(builder, bias, channel)))
        slope = builder.select(softplus, lanes.sigmoid(raw), lanes.constant(1.0))
        into_delta = lanes.multiply(into_size, slope)
        lanes.store(into_delta, _at(builder, grad_delta, delta_at))
        for pointer, more in ((grad_skip, lanes.multiply(dy, x)), (grad_bias, into_delta)):
            lanes.store(lanes.add(lanes.load(pointer), more), pointer)
        return context.get_dummy_value()

    i, flag = types.intp, types.boolean
    return types.void(
        u, i, delta, i, bias, i, flag, step, i, A, B, C, i, i, skip, h, i, decays, grad_y, i, g, grad_A,
        grad_u, grad_delta, grad_B, grad_C, i, grad_skip, grad_bias,
    ), generate  # fmt: skip

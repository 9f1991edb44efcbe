"""Sixteen channels at once: vector code for the inner step of the CPU scan, as Numba intrinsics.

Numba alone does not keep sixteen float32 lanes in registers across the state loop, so the step is written as
LLVM vector instructions. LLVM maps them to AVX-512, AVX2, SSE or NEON, whatever the machine has. Arrays are
one-dimensional and contiguous; offsets count elements. Importing this module imports Numba (the extra
``fast``).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
_FLOAT, _INT = ir.FloatType(), ir.IntType(32)
_VECTOR, _INT_VECTOR = ir.VectorType(_FLOAT, LANES), ir.VectorType(_INT, LANES)

_ROUNDING = 12582912.0  # 1.5 * 2^23: adding it leaves the nearest integer in the low bits
_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)


class Lanes:
    """Vector arithmetic on top of an LLVM builder; values are 16 float32 each."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def constant(self, value: float) -> Any:
        """The same number in all lanes."""
        return ir.Constant(_VECTOR, [value] * LANES)

    def spread(self, scalar: Any) -> Any:
        """A scalar in all lanes."""
        first = self.builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), scalar, ir.Constant(_INT, 0))
        undefined = ir.Constant(_VECTOR, ir.Undefined)
        return self.builder.shuffle_vector(first, undefined, ir.Constant(_INT_VECTOR, [0] * LANES))

    def load(self, pointer: Any) -> Any:
        """Sixteen consecutive numbers."""
        return self.builder.load(self.builder.bitcast(pointer, _VECTOR.as_pointer()), align=4)

    def store(self, value: Any, pointer: Any) -> None:
        """Write sixteen consecutive numbers."""
        self.builder.store(value, self.builder.bitcast(pointer, _VECTOR.as_pointer()), align=4)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """a * b + c, fused where the machine can."""
        signature = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        name = f"llvm.fmuladd.v{LANES}f32"
        return self.builder.call(
            cgutils.get_or_insert_function(self.builder.module, signature, name), [a, b, c]
        )

    def add(self, a: Any, b: Any) -> Any:
        """a + b."""
        return self.builder.fadd(a, b)

    def multiply(self, a: Any, b: Any) -> Any:
        """a * b."""
        return self.builder.fmul(a, b)

    def sum(self, a: Any) -> Any:
        """The sum of all lanes, a scalar."""
        signature = ir.FunctionType(_FLOAT, [_FLOAT, _VECTOR])
        name = f"llvm.vector.reduce.fadd.v{LANES}f32"
        function = cgutils.get_or_insert_function(self.builder.module, signature, name)
        return self.builder.call(function, [ir.Constant(_FLOAT, -0.0), a], fastmath=("reassoc",))

    def clamped(self, a: Any, low: float, high: float) -> Any:
        """a kept within two bounds."""
        below = self.builder.fcmp_ordered("<", a, self.constant(low))
        a = self.builder.select(below, self.constant(low), a)
        above = self.builder.fcmp_ordered(">", a, self.constant(high))
        return self.builder.select(above, self.constant(high), a)

    def exp(self, x: Any) -> Any:
        """Exponential, to 2e-7 relative; arguments are kept within [-87, 88].

        x = n ln 2 + r with |r| at most ln 2 / 2; a polynomial of r, and n added to its exponent bits.
        """
        x = self.clamped(x, -87.0, 88.0)
        rounded = self.multiply_add(x, self.constant(1.44269504088896341), self.constant(_ROUNDING))
        n = self.builder.fsub(rounded, self.constant(_ROUNDING))
        r = self.multiply_add(n, self.constant(-0.693359375), x)  # few bits: exact without fusing, too
        r = self.multiply_add(n, self.constant(2.12194440e-4), r)
        p = self.constant(_EXP[0])
        for coefficient in _EXP[1:]:
            p = self.multiply_add(p, r, self.constant(coefficient))
        p = self.add(self.multiply_add(p, self.multiply(r, r), r), self.constant(1.0))
        exponent = self.builder.shl(
            self.builder.bitcast(rounded, _INT_VECTOR), ir.Constant(_INT_VECTOR, [23] * LANES)
        )
        bits = self.builder.add(self.builder.bitcast(p, _INT_VECTOR), exponent)
        return self.builder.bitcast(bits, _VECTOR)

    def exp_of_minus_abs(self, x: Any) -> tuple[Any, Any]:
        """(exp(-|x|), whether x is below zero)."""
        negative = self.builder.fcmp_ordered("<", x, self.constant(0.0))
        return self.exp(self.builder.select(negative, x, self.builder.fneg(x))), negative

    def softplus(self, x: Any) -> Any:
        """log(1 + exp(x)) = max(x, 0) + 2 artanh(e / (2 + e)), e = exp(-|x|): no cancellation at small
        results.
        """
        e, negative = self.exp_of_minus_abs(x)
        q = self.builder.fdiv(e, self.add(e, self.constant(2.0)))  # at most 1/3
        square = self.multiply(q, q)
        series = self.constant(1 / 13)
        for odd in (11, 9, 7, 5, 3, 1):
            series = self.multiply_add(series, square, self.constant(1 / odd))
        logarithm = self.multiply(self.add(q, q), series)
        return self.add(self.builder.select(negative, self.constant(0.0), x), logarithm)

    def sigmoid(self, x: Any) -> Any:
        """1 / (1 + exp(-x)), the derivative of softplus."""
        e, negative = self.exp_of_minus_abs(x)
        return self.builder.fdiv(
            self.builder.select(negative, e, self.constant(1.0)), self.add(e, self.constant(1.0))
        )


def _pointers(context: Any, builder: Any, signature: Any, arguments: Any) -> list[Any]:
    """Arrays to data pointers and integers to machine words; an array followed by an integer is moved by
    it.
    """
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


@intrinsic  # type: ignore[untyped-decorator]
def exp_lanes(typing: Any, source: Any, target: Any, offset: Any) -> Any:
    """target[offset : offset + 16] = exp(source[...]); for testing the exponential by itself."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, target, place = _pointers(context, builder, signature, arguments)
        lanes = Lanes(builder)
        lanes.store(lanes.exp(lanes.load(_at(builder, source, place))), _at(builder, target, place))
        return context.get_dummy_value()

    return types.void(source, target, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def step_sizes(
    typing: Any, delta: Any, place: Any, bias: Any, channel: Any, softplus: Any, target: Any
) -> Any:
    """target[:16] = delta' = softplus(delta + bias), or delta + bias."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        delta, place, bias, channel, softplus, target = _pointers(context, builder, signature, arguments)
        lanes = Lanes(builder)
        x = lanes.add(lanes.load(_at(builder, delta, place)), lanes.load(_at(builder, bias, channel)))
        plain, soft = builder.append_basic_block("plain"), builder.append_basic_block("soft")
        after = builder.append_basic_block("after")
        builder.cbranch(softplus, soft, plain)
        builder.position_at_end(soft)
        result = lanes.softplus(x)
        builder.branch(after)
        builder.position_at_end(plain)
        builder.branch(after)
        builder.position_at_end(after)
        chosen = builder.phi(_VECTOR)
        chosen.add_incoming(result, soft)
        chosen.add_incoming(x, plain)
        lanes.store(chosen, target)
        return context.get_dummy_value()

    return types.void(delta, types.intp, bias, types.intp, types.boolean, target), generate


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
        width = ir.Constant(ir.IntType(64), LANES)
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
    """One time step for the backward pass: reads h at `before`, writes it at `after`, keeps the decay
    factors.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        u, u_at, step, A, B, b_at, states, h, after, decays, row_at = _pointers(
            context, builder, signature, arguments
        )
        lanes = Lanes(builder)
        size = lanes.load(step)
        drive = lanes.multiply(size, lanes.load(_at(builder, u, u_at)))
        width = ir.Constant(ir.IntType(64), LANES)
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
        width = ir.Constant(ir.IntType(64), LANES)
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

"""Sixteen numbers as one Numba value: kernels over bfloat16 pictures read as ordinary Python.

Addresses are integers, in bytes, since kernels walk through bands of larger tensors. bfloat16 is widened to
float32 by a shift, and rounded to the nearest even on the way back. Importing this module imports Numba (the
extra ``fast``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from dereflect.nn.simd.lanes import LANES, Lanes

_FLOAT, _SHORT, _INT, _WORD = ir.FloatType(), ir.IntType(16), ir.IntType(32), ir.IntType(64)
_VECTOR, _SHORTS, _INTS = (ir.VectorType(kind, LANES) for kind in (_FLOAT, _SHORT, _INT))


class VectorType(types.Type):
    """Numba's type of sixteen float32 numbers."""

    def __init__(self) -> None:
        super().__init__(name="Float32x16")


vector = VectorType()


@register_model(VectorType)
class VectorModel(models.PrimitiveModel):
    """A vector lives in a vector register."""

    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


Generator = Callable[..., Any]


def _operation(result: Any, kinds: tuple[Any, ...], generate: Generator) -> tuple[Any, Any]:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        made = generate(Lanes(builder), builder, *arguments)
        return context.get_dummy_value() if result is types.void else made

    return result(*kinds), code


def _pointer(builder: Any, address: Any, kind: Any) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


@intrinsic  # type: ignore[untyped-decorator]
def low(typing: Any, address: Any) -> Any:
    """Sixteen bfloat16 numbers at an address."""

    def generate(lanes: Lanes, builder: Any, address: Any) -> Any:
        raw = builder.load(_pointer(builder, address, _SHORTS), align=2)
        wide = builder.shl(builder.zext(raw, _INTS), ir.Constant(_INTS, [16] * LANES))
        return builder.bitcast(wide, _VECTOR)

    return _operation(vector, (types.int64,), generate)


@intrinsic  # type: ignore[untyped-decorator]
def put_low(typing: Any, address: Any, value: Any) -> Any:
    """Round to bfloat16 and write sixteen numbers at an address."""

    def generate(lanes: Lanes, builder: Any, address: Any, value: Any) -> None:
        bits = builder.bitcast(value, _INTS)
        sixteen, one = ir.Constant(_INTS, [16] * LANES), ir.Constant(_INTS, [1] * LANES)
        odd = builder.and_(builder.lshr(bits, sixteen), one)
        rounded = builder.add(builder.add(bits, ir.Constant(_INTS, [0x7FFF] * LANES)), odd)
        short = builder.trunc(builder.lshr(rounded, sixteen), _SHORTS)
        builder.store(short, _pointer(builder, address, _SHORTS), align=2)

    return _operation(types.void, (types.int64, vector), generate)


@intrinsic  # type: ignore[untyped-decorator]
def full(typing: Any, address: Any) -> Any:
    """Sixteen float32 numbers at an address."""
    return _operation(
        vector, (types.int64,), lambda lanes, builder, at: lanes.load(_pointer(builder, at, _FLOAT))
    )


@intrinsic  # type: ignore[untyped-decorator]
def put_full(typing: Any, address: Any, value: Any) -> Any:
    """Write sixteen float32 numbers at an address."""
    return _operation(
        types.void,
        (types.int64, vector),
        lambda lanes, builder, at, value: lanes.store(value, _pointer(builder, at, _FLOAT)),
    )


@intrinsic  # type: ignore[untyped-decorator]
def spread(typing: Any, number: Any) -> Any:
    """One number in all lanes."""
    return _operation(vector, (types.float32,), lambda lanes, builder, number: lanes.spread(number))


@intrinsic  # type: ignore[untyped-decorator]
def add(typing: Any, a: Any, b: Any) -> Any:
    """a + b."""
    return _operation(vector, (vector, vector), lambda lanes, builder, a, b: lanes.add(a, b))


@intrinsic  # type: ignore[untyped-decorator]
def times(typing: Any, a: Any, b: Any) -> Any:
    """a * b."""
    return _operation(vector, (vector, vector), lambda lanes, builder, a, b: lanes.multiply(a, b))


@intrinsic  # type: ignore[untyped-decorator]
def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c."""
    return _operation(
        vector, (vector, vector, vector), lambda lanes, builder, a, b, c: lanes.multiply_add(a, b, c)
    )


@intrinsic  # type: ignore[untyped-decorator]
def larger(typing: Any, a: Any, b: Any) -> Any:
    """The larger of both, lane by lane."""

    def generate(lanes: Lanes, builder: Any, a: Any, b: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", a, b), a, b)

    return _operation(vector, (vector, vector), generate)


@intrinsic  # type: ignore[untyped-decorator]
def leaky(typing: Any, a: Any) -> Any:
    """Leaky ReLU of slope 0.2."""

    def generate(lanes: Lanes, builder: Any, a: Any) -> Any:
        small = lanes.multiply(a, lanes.constant(0.2))
        return builder.select(builder.fcmp_ordered(">", a, lanes.constant(0.0)), a, small)

    return _operation(vector, (vector,), generate)


@intrinsic  # type: ignore[untyped-decorator]
def silu(typing: Any, a: Any) -> Any:
    """a * sigmoid(a)."""
    return _operation(vector, (vector,), lambda lanes, builder, a: lanes.multiply(a, lanes.sigmoid(a)))


@intrinsic  # type: ignore[untyped-decorator]
def gelu(typing: Any, a: Any) -> Any:
    """a * Phi(a), with the error function to 2e-7 (Abramowitz and Stegun, 7.1.26)."""

    def generate(lanes: Lanes, builder: Any, a: Any) -> Any:
        scaled = lanes.multiply(a, lanes.constant(0.7071067811865476))
        negative = builder.fcmp_ordered("<", scaled, lanes.constant(0.0))
        size = builder.select(negative, builder.fneg(scaled), scaled)
        one = lanes.constant(1.0)
        t = builder.fdiv(one, lanes.multiply_add(size, lanes.constant(0.3275911), one))
        series = lanes.constant(1.061405429)
        for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
            series = lanes.multiply_add(series, t, lanes.constant(coefficient))
        tail = lanes.multiply(lanes.multiply(series, t), lanes.exp(builder.fneg(lanes.multiply(size, size))))
        half = lanes.multiply(tail, lanes.constant(0.5))  # 1 - Phi(|a|)
        return lanes.multiply(a, builder.select(negative, half, builder.fsub(one, half)))

    return _operation(vector, (vector,), generate)


@intrinsic  # type: ignore[untyped-decorator]
def total(typing: Any, a: Any) -> Any:
    """The sum of all lanes."""
    return _operation(types.float32, (vector,), lambda lanes, builder, a: lanes.sum(a))


@intrinsic  # type: ignore[untyped-decorator]
def largest(typing: Any, a: Any) -> Any:
    """The largest of all lanes."""

    def generate(lanes: Lanes, builder: Any, a: Any) -> Any:
        name, kind = f"llvm.vector.reduce.fmax.v{LANES}f32", ir.FunctionType(_FLOAT, [_VECTOR])
        return builder.call(
            cgutils.get_or_insert_function(builder.module, kind, name), [a], fastmath=("nnan",)
        )

    return _operation(types.float32, (vector,), generate)


@intrinsic  # type: ignore[untyped-decorator]
def place_of(typing: Any, a: Any, number: Any) -> Any:
    """The first lane that holds a number; 16 where none does."""

    def generate(lanes: Lanes, builder: Any, a: Any, number: Any) -> Any:
        found = builder.bitcast(builder.fcmp_ordered("==", a, lanes.spread(number)), _SHORT)
        kind = ir.FunctionType(_SHORT, [_SHORT, ir.IntType(1)])
        count = cgutils.get_or_insert_function(builder.module, kind, "llvm.cttz.i16")
        return builder.zext(builder.call(count, [found, ir.Constant(ir.IntType(1), 0)]), _WORD)

    return _operation(types.int64, (vector, types.float32), generate)


@intrinsic  # type: ignore[untyped-decorator]
def without(typing: Any, a: Any, lane: Any) -> Any:
    """Minus infinity put into one lane."""

    def generate(lanes: Lanes, builder: Any, a: Any, lane: Any) -> Any:
        return builder.insert_element(a, ir.Constant(_FLOAT, float("-inf")), builder.trunc(lane, _INT))

    return _operation(vector, (vector, types.int64), generate)


@intrinsic  # type: ignore[untyped-decorator]
def floats_at(typing: Any, address: Any) -> Any:
    """An address as a pointer to float32 numbers, for ``numba.carray``."""
    return _operation(
        types.CPointer(types.float32),
        (types.int64,),
        lambda lanes, builder, at: _pointer(builder, at, _FLOAT),
    )


@intrinsic  # type: ignore[untyped-decorator]
def words_at(typing: Any, address: Any) -> Any:
    """An address as a pointer to int64 numbers, for ``numba.carray``."""
    return _operation(
        types.CPointer(types.int64), (types.int64,), lambda lanes, builder, at: _pointer(builder, at, _WORD)
    )


@intrinsic  # type: ignore[untyped-decorator]
def next_task(typing: Any, record: Any) -> Any:
    """What the counter that a record begins with holds, which is then raised by one; safe between threads."""

    def generate(lanes: Lanes, builder: Any, record: Any) -> Any:
        counter = builder.bitcast(record, _WORD.as_pointer())
        return builder.atomic_rmw("add", counter, ir.Constant(_WORD, 1), "monotonic")

    return _operation(types.int64, (record,), generate)

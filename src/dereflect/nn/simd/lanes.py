"""Sixteen numbers at once: arithmetic of vector registers, for code that Numba intrinsics generate.

Numba alone does not keep sixteen float32 lanes in registers across an inner loop, so such loops are written
as LLVM vector instructions. LLVM maps them to AVX-512, AVX2, SSE or NEON, whatever the machine has. Importing
this module imports Numba (the extra ``fast``).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils

LANES = 16
_FLOAT, _INT = ir.FloatType(), ir.IntType(32)
_VECTOR, _INT_VECTOR = ir.VectorType(_FLOAT, LANES), ir.VectorType(_INT, LANES)

_ROUNDING = 12582912.0  # 1.5 * 2^23: adding it leaves the nearest integer in the low bits
# exp(r) = 1 + r + r^2 p(r) to 1.1e-7 relative for |r| <= ln 2 / 2, fitted for the least largest error
_EXP = (8.3125e-3, 4.189033e-2, 1.6667115e-1, 4.999923e-1)


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
        """log(1 + exp(x)) without cancellation at small results.

        It is max(x, 0) + 2 artanh(e / (2 + e)), e = exp(-|x|).
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

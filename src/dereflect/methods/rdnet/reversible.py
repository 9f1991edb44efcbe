"""A column that keeps only its results for the backward pass (paper section 3.2, after RevNet and RevCol).

Ordinary back-propagation keeps what every layer computed. Here the forward pass builds no graph: going
backward, each level is computed once more from states that are known by then, and its old state is found from
the new one. The gradients are the same numbers; activations of one level are held instead of all columns'.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dereflect.methods.rdnet.column import Column, Level, States


def reversible(column: Column, x: Tensor, states: Sequence[Tensor]) -> States:
    """What ``column(x, states)`` gives, with a backward pass that needs less memory.

    An alpha of exactly 0 cannot be divided by and gives gradients that are not numbers.
    """
    column.clamp_alphas()
    return ReversibleColumn.apply(column, x, *states, *column.parameters())  # type: ignore[no-untyped-call]


class ReversibleColumn(torch.autograd.Function):
    """See `reversible`. Inputs: column, x, the four states, then all of the column's parameters."""

    @staticmethod
    def forward(ctx: Any, column: Column, x: Tensor, *rest: Tensor) -> States:
        """The new states, computed without a graph."""
        kind = x.device.type
        ctx.column = column
        ctx.precision = {  # going backward, levels must be computed as they were
            "device_type": kind,
            "enabled": torch.is_autocast_enabled(kind),
            "dtype": torch.get_autocast_dtype(kind),
        }
        new = column.renew(x, rest[:4])
        ctx.save_for_backward(x, *new)
        return new

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        """Gradients of x, the old states and the parameters, from the top level down."""
        column: Column = ctx.column
        known: tuple[Tensor, ...] = ctx.saved_tensors  # x, then the new states: what each level sees below
        found: dict[Tensor, Tensor] = {}  # gradients of parameters
        of_new = [torch.zeros_like(known[0]), *upstream]  # gradients of x and the new states
        of_old: list[Tensor] = []  # gradients of the old states, coarsest first
        old: Tensor | None = None  # the old state of the level above
        for number in (3, 2, 1, 0):
            level, alpha, gradient = column.levels()[number], column.alphas()[number], of_new[number + 1]
            with torch.autocast(**ctx.precision):
                inputs, value = computed_again(level, known[number], old)
            to_below, to_above = level_backward(level, inputs, value, gradient, found)
            if to_above is not None:
                of_old[-1] = of_old[-1] + to_above
            old = (known[number + 1] - value.detach()) / alpha
            found[alpha] = (old * gradient).sum((0, 2, 3), keepdim=True)
            of_old.append(alpha * gradient)
            of_new[number] = of_new[number] + to_below
        return None, of_new[0], *reversed(of_old), *(found[p] for p in column.parameters())


def computed_again(level: Level, below: Tensor, above: Tensor | None) -> tuple[list[Tensor], Tensor]:
    """A level's inputs, cut off from what made them, and its value with a graph down to them."""
    inputs = [below.detach().requires_grad_()]
    if level.fusion.from_above and above is not None:
        inputs.append(above.detach().requires_grad_())
    with torch.enable_grad():
        return inputs, level(inputs[0], inputs[1] if len(inputs) == 2 else None)


def level_backward(
    level: Level, inputs: list[Tensor], value: Tensor, gradient: Tensor, found: dict[Tensor, Tensor]
) -> tuple[Tensor, Tensor | None]:
    """Send `gradient` through a level, to its parameters in `found` too.

    Returns:
        The gradient of the state below, and that of the state above where there is a way for it.
    """
    parameters = list(level.parameters())
    to_below, *others = torch.autograd.grad(value, [*inputs, *parameters], gradient.to(value.dtype))
    to_above = others.pop(0) if len(inputs) == 2 else None
    found.update(zip(parameters, others, strict=True))
    return to_below, to_above

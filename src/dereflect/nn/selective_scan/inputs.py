"""What every implementation of the selective scan is given, checked once."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from dereflect.errors import InputError


class ScanInputs(NamedTuple):
    """The arguments of `dereflect.nn.selective_scan.selective_scan`, where their shapes are explained."""

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None = None
    delta_bias: Tensor | None = None
    delta_softplus: bool = True
    order: Tensor | None = None
    delta_weight: Tensor | None = None

    @property
    def groups(self) -> int:
        """In how many groups channels share B and C; with an order the two directions."""
        return self.B.shape[1]

    @property
    def states(self) -> int:
        """N, of each channel."""
        return self.A.shape[1]

    def check(self) -> None:
        """Refuse shapes that do not belong together.

        Raises:
            InputError: names the tensor, its shape and the shape that is needed.
        """
        batch, channels, length = self.u.shape
        ordered = self.order is not None
        total = 2 * channels if ordered else channels
        groups = self.B.shape[1] if self.B.dim() == 4 else 0
        if self.delta_weight is not None and not ordered:
            raise InputError("selective scan", "delta_weight needs an order; multiply delta by it instead")
        rank = channels if self.delta_weight is None else self.delta_weight.shape[-1]
        matrices = (batch, 2 if ordered else groups, self.A.shape[-1], length)
        wanted: dict[str, tuple[int, ...]] = {
            "delta": (batch, 2, rank, length) if ordered else (batch, channels, length),
            "delta_weight": (total, rank),
            "A": (total, self.A.shape[-1]),
            "B": matrices,
            "C": matrices,
            "D": (total,),
            "delta_bias": (total,),
            "order": (batch, length),
        }
        for name, shape in wanted.items():
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != shape:
                found = tuple(value.shape)
                raise InputError("selective scan", f"{name} has shape {found}, but {shape} is needed")
        if groups < 1 or total % groups:
            raise InputError("selective scan", f"{groups} groups of B do not divide {total} channels")

    def in_dtype(self, dtype: torch.dtype) -> ScanInputs:
        """The same with all tensors but the order in one dtype."""
        changed: dict[str, Any] = {
            name: value.to(dtype)
            for name, value in self._asdict().items()
            if isinstance(value, Tensor) and name != "order"
        }
        return self._replace(**changed)

    def with_whole_steps(self) -> ScanInputs:
        """The same with step sizes of low rank multiplied out, (batch, 2, channels, L)."""
        if self.delta_weight is None:
            return self
        pairs = zip(self.delta.transpose(2, 3).unbind(1), self.delta_weight.chunk(2), strict=True)
        delta = torch.stack([F.linear(x, w).transpose(1, 2) for x, w in pairs], dim=1)
        return self._replace(delta=delta.to(self.u.dtype), delta_weight=None)

    def steps(self) -> Tensor:
        """delta' (batch, channels, L), of a scan without an order."""
        delta = self.delta if self.delta_bias is None else self.delta + self.delta_bias[:, None]
        return F.softplus(delta) if self.delta_softplus else delta

    def with_skip(self, y: Tensor) -> Tensor:
        """y + D u, of a scan without an order."""
        return y if self.D is None else y + self.D[:, None] * self.u

"""One function for all devices."""

from __future__ import annotations

from torch import Tensor

from dereflect.nn.selective_scan.reference import selective_scan_reference


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = True,
    order: Tensor | None = None,
) -> Tensor:
    """Selective scan."""
    return selective_scan_reference(u, delta, A, B, C, D, delta_bias, delta_softplus, order)

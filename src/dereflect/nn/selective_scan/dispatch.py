"""One function for all devices: which implementation runs where, said once and never changed in silence."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Callable
from functools import lru_cache, partial

import torch
from torch import Tensor

from dereflect.errors import InputError, MissingExtra
from dereflect.nn.selective_scan.chunked import selective_scan_chunked
from dereflect.nn.selective_scan.inputs import ScanInputs
from dereflect.nn.selective_scan.reference import selective_scan_plain

logger = logging.getLogger("dereflect.selective_scan")

PATHS = ("auto", "plain", "chunked", "cpu", "triton", "mamba")


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
    path: str = "auto",
    delta_weight: Tensor | None = None,
) -> Tensor:
    """Selective scan of Mamba: h <- exp(delta' A) h + delta' B u, y = C h + D u.

    delta' = softplus(delta + bias).

    Without `order`, all channels of a batch entry are scanned along L; consecutive channels share B and C by
    group. With `order`, everything is given in raster order, each sequence is scanned along the order and
    along its exact reverse (two groups of channels with their own delta, A, B, C, D), and the sum of both
    comes back in raster order.

    Args:
        u: (batch, channels, L).
        delta: (batch, channels, L); with `order` (batch, 2, channels, L).
        A: (channels, N), negative; with `order` (2 * channels, N).
        B: (batch, groups, N, L); groups divides channels, and is 2 with `order`.
        C: as B.
        D: (channels,) or None; with `order` (2 * channels,).
        delta_bias: as D.
        delta_softplus: whether delta + bias goes through softplus.
        order: (batch, L) integer permutation of 0..L-1, or None.
        path: which implementation; "auto" takes the fastest that fits device and dtype and says so once.
        delta_weight: (2 * channels, rank) or None; if given (with `order` only), `delta` is (batch, 2, rank,
            L) and the step sizes are delta_weight @ delta in each direction: they are the largest tensor of a
            scan, which the CPU path without gradients then never makes.

    Returns:
        (batch, channels, L), in the dtype of `u`. All inputs but `order` are differentiable.

    Raises:
        InputError: shapes that do not belong together, or a path that this machine does not have.
    """
    if path not in PATHS:
        raise InputError(f"selective scan path '{path}'", f"unknown; one of {', '.join(PATHS)}")
    inputs = ScanInputs(u, delta, A, B, C, D, delta_bias, delta_softplus, order, delta_weight)
    inputs.check()
    half = u.dtype in (torch.float16, torch.bfloat16)  # the recurrence accumulates over thousands of steps
    inputs = inputs.in_dtype(torch.float32 if half else u.dtype)
    if path == "auto":
        path = chosen_path(u.device.type, inputs.u.dtype)
    if path != "cpu" or torch.is_grad_enabled():
        inputs = inputs.with_whole_steps()
    return implementation(path)(inputs).to(u.dtype)


selective_scan_reference = partial(selective_scan, path="plain")
"""The scan as its formula reads, by which the other paths are tested."""


@lru_cache(maxsize=16)
def chosen_path(device: str, dtype: torch.dtype = torch.float32) -> str:
    """The implementation that "auto" takes on a device; logged at its first use."""
    path, reason = _choose(device, dtype)
    level = logging.WARNING if reason else logging.INFO
    logger.log(level, "selective scan on %s (%s) runs as '%s'%s", device, dtype, path, reason)
    return path


def _choose(device: str, dtype: torch.dtype) -> tuple[str, str]:
    if dtype != torch.float32:
        return ("plain" if device == "cpu" else "chunked"), ""
    if device == "cpu":
        if importlib.util.find_spec("numba") is not None:
            return "cpu", ""
        return "chunked", ", which is slow; for the fast one run pip install 'dereflect[fast]'"
    if device == "cuda":
        from dereflect.nn.selective_scan.mamba import fault_of_mamba

        fault = fault_of_mamba()
        if fault is None:
            return "mamba", ""
        if importlib.util.find_spec("triton") is not None:
            return "triton", f" ({fault})" if "not installed" not in fault else ""
        return "chunked", f", which is slow ({fault}, and Triton is not installed)"
    return "chunked", ""


def implementation(path: str) -> Callable[[ScanInputs], Tensor]:
    """The function behind a path name.

    Raises:
        InputError: this machine does not have it; says why and what to do.
    """
    if path == "plain":
        return selective_scan_plain
    if path == "chunked":
        return selective_scan_chunked
    if path == "cpu":
        if importlib.util.find_spec("numba") is None:
            raise MissingExtra("numba", "fast", "the fast selective scan on the CPU")
        from dereflect.nn.selective_scan.cpu import selective_scan_cpu

        return selective_scan_cpu
    if path == "mamba":
        from dereflect.nn.selective_scan.mamba import fault_of_mamba, selective_scan_mamba

        if fault := fault_of_mamba():
            raise InputError(f"selective scan path '{path}'", f"{fault}; use path 'auto'")
        return selective_scan_mamba
    from dereflect.nn.selective_scan.triton_kernel import fault_of_triton, selective_scan_triton

    if fault := fault_of_triton():
        raise InputError(f"selective scan path '{path}'", f"{fault}; use path 'auto'")
    return selective_scan_triton

"""Adapter to the CUDA kernel of the `mamba_ssm` package, where it is installed."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from functools import lru_cache

import torch
from torch import Tensor

from dereflect.errors import first_line
from dereflect.nn.selective_scan.inputs import ScanInputs
from dereflect.nn.selective_scan.reference import scan_both_ways

WANTED = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias", "delta_softplus")


@lru_cache(maxsize=1)
def fault_of_mamba() -> str | None:
    """Why the kernel cannot be used, or None."""
    if importlib.util.find_spec("mamba_ssm") is None:
        return "mamba_ssm is not installed"
    if not torch.cuda.is_available():
        return "mamba_ssm needs a CUDA device, and there is none"
    try:
        module = importlib.import_module("mamba_ssm.ops.selective_scan_interface")
        parameters = tuple(inspect.signature(module.selective_scan_fn).parameters)
    except Exception as error:  # a package built for other versions may fail in any way
        return (
            f"the installed mamba_ssm does not load ({first_line(error)}); install one built for this PyTorch"
        )
    if parameters[: len(WANTED)] != WANTED:
        return (
            f"the installed mamba_ssm has another interface ({', '.join(parameters)}); install mamba_ssm 2.x"
        )
    return None


def selective_scan_mamba(inputs: ScanInputs) -> Tensor:
    """Scan by `mamba_ssm`; see `dereflect.nn.selective_scan.selective_scan`. Orders cost permuted copies."""
    if inputs.order is not None:
        return scan_both_ways(selective_scan_mamba, inputs, inputs.order)
    module = importlib.import_module("mamba_ssm.ops.selective_scan_interface")
    u, delta, A, B, C, D, bias, softplus, *_ = inputs
    arguments = (x.contiguous() for x in (u, delta, A, B, C))
    return module.selective_scan_fn(*arguments, D, z=None, delta_bias=bias, delta_softplus=softplus)

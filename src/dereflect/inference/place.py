"""Where one method runs, and in what, of what the user asked for and what the method can do."""

from __future__ import annotations

import torch

from dereflect.devices import choose_device, choose_dtype
from dereflect.errors import InputError
from dereflect.methods.contract import Method


def choose_place(method: Method, device: str, dtype: str) -> tuple[torch.device, str, torch.dtype]:
    """Device, a remark on it (else ""), and number format.

    Args:
        method: to run; see its `Method.devices` and `Method.fixed_dtype`.
        device, dtype: as `dereflect.devices.choose_device` and `choose_dtype` take them. ``auto`` gives what
            the method can do, in place of what would be best.

    Raises:
        InputError: one of them cannot be followed, on this machine or by this method.
    """
    place, remark = choose_device(device)
    if method.devices and place.type not in method.devices:
        can = " or ".join(method.devices)
        if device != "auto":
            raise InputError(device, f"this model runs on {can} alone; take auto", option="device")
        place, remark = torch.device(method.devices[0]), f"a GPU is not used: this model runs on {can} alone"
    if method.fixed_dtype is None:
        return place, remark, choose_dtype(dtype, place)
    fixed = str(method.fixed_dtype).removeprefix("torch.")
    if dtype not in ("auto", fixed):
        raise InputError(dtype, f"this model computes in {fixed} alone; take auto", option="dtype")
    return place, remark, method.fixed_dtype

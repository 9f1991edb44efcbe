"""The selective scan as a Triton kernel, for CUDA devices without `mamba_ssm`.

A program owns a block of channels with all their states and walks through the sequence, following the order
in place, as the CPU kernel does. The backward pass is the chunked PyTorch path's. Set ``TRITON_INTERPRET=1``
before Triton is first imported to run the kernel on the CPU, for tests.
"""

from __future__ import annotations

import importlib.util
import os
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from dereflect.nn.selective_scan.chunked import selective_scan_chunked
from dereflect.nn.selective_scan.inputs import ScanInputs

if importlib.util.find_spec("triton") is not None:
    import triton
    import triton.language as tl

BLOCK = 4


def fault_of_triton() -> str | None:
    """Why the kernel cannot be used, or None."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
        return "Triton needs a GPU, and there is none"
    return None


def _kernel(
    u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, bias: Any, order: Any, y: Any, length: Any,
    channels: Any, groups: Any, u_groups: Any, reverse: Any, STATES: tl.constexpr,
    STATES_PADDED: tl.constexpr, CHANNELS: tl.constexpr, SOFTPLUS: tl.constexpr,
) -> None:  # fmt: skip
    """Programs (channel block, batch * groups + group); everything channels-last and contiguous."""
    first, batch, group = tl.program_id(0) * CHANNELS, tl.program_id(1) // groups, tl.program_id(1) % groups
    channel = first + tl.arange(0, CHANNELS)
    state = tl.arange(0, STATES_PADDED)
    inside, states_inside = channel < channels, state < STATES
    own = group * channels + channel
    rate = tl.load(
        A + own[:, None] * STATES + state[None, :], mask=inside[:, None] & states_inside[None, :], other=0.0
    )
    skip, shift = tl.load(D + own, mask=inside, other=0.0), tl.load(bias + own, mask=inside, other=0.0)
    h = tl.zeros((CHANNELS, STATES_PADDED), dtype=tl.float32)
    rows = (batch * groups + group) * length
    u_rows = (batch * u_groups + group * (u_groups > 1)) * length
    backwards = reverse * (group == 1)
    for t in range(0, length):
        place = tl.load(order + batch * length + backwards * (length - 1 - 2 * t) + t)
        x = tl.load(u + (u_rows + place) * channels + channel, mask=inside, other=0.0)
        step = tl.load(delta + (rows + place) * channels + channel, mask=inside, other=0.0) + shift
        if SOFTPLUS:  # max(x, 0) + 2 artanh(e / (2 + e)) with e = exp(-|x|)
            e = tl.exp(-tl.abs(step))
            q = e / (2.0 + e)
            s = q * q
            series = 1.0 + s * (1 / 3 + s * (1 / 5 + s * (1 / 7 + s * (1 / 9 + s * (1 / 11 + s * (1 / 13))))))
            step = tl.maximum(step, 0.0) + 2.0 * q * series
        b = tl.load(B + (rows + place) * STATES + state, mask=states_inside, other=0.0)
        c = tl.load(C + (rows + place) * STATES + state, mask=states_inside, other=0.0)
        h = tl.exp(step[:, None] * rate) * h + (step * x)[:, None] * b[None, :]
        out = tl.sum(h * c[None, :], axis=1) + skip * x
        tl.store(y + (rows + place) * channels + channel, out, mask=inside)


@lru_cache(maxsize=1)
def _compiled() -> Any:
    return triton.jit(_kernel)


class _TritonScan(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, softplus: bool, order: Tensor | None, *inputs: Tensor) -> Tensor:
        u, delta, A, B, C, D, bias = inputs
        context.save_for_backward(*inputs, *(() if order is None else (order,)))
        context.softplus = softplus
        batch, channels, length = u.shape
        groups, states = B.shape[1], B.shape[2]
        per_group = channels if order is not None else channels // groups
        rows = u.reshape(batch, -1, per_group, length).transpose(2, 3).contiguous()
        steps = delta.reshape(batch, groups, per_group, length).transpose(2, 3).contiguous()
        path = torch.arange(length, device=u.device).expand(batch, -1) if order is None else order
        y = torch.empty_like(steps)
        grid = (triton.cdiv(per_group, BLOCK), batch * groups)
        _compiled()[grid](
            rows, steps, A.contiguous(), B.transpose(2, 3).contiguous(), C.transpose(2, 3).contiguous(),
            D.contiguous(), bias.contiguous(), path.contiguous(), y, length, per_group, groups, rows.shape[1],
            int(order is not None), STATES=states, STATES_PADDED=triton.next_power_of_2(states),
            CHANNELS=BLOCK, SOFTPLUS=softplus,
        )  # fmt: skip
        if order is not None:
            return y.sum(1).transpose(1, 2)
        return y.transpose(2, 3).reshape(batch, channels, length)

    @staticmethod
    def backward(context: Any, grad_y: Tensor) -> Any:
        saved = [x.detach() for x in context.saved_tensors]
        order = saved[7] if len(saved) > 7 else None
        inputs = [x.requires_grad_() for x in saved[:7]]
        with torch.enable_grad():
            y = selective_scan_chunked(
                ScanInputs(*inputs)._replace(delta_softplus=context.softplus, order=order)
            )
            return (None, None, *torch.autograd.grad(y, inputs, grad_y))


def selective_scan_triton(inputs: ScanInputs) -> Tensor:
    """Scan by the Triton kernel; see `dereflect.nn.selective_scan.selective_scan`."""
    u, delta, A, B, C, D, bias, softplus, order, _ = inputs
    skip, shift = (A.new_zeros(A.shape[0]) if x is None else x for x in (D, bias))
    return _TritonScan.apply(softplus, order, u, delta, A, B, C, skip, shift)  # type: ignore[no-untyped-call]

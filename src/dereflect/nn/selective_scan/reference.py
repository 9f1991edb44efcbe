"""The selective scan as its formula reads: one step at a time, any float type, differentiable by autograd.

"Mamba: Linear-Time Sequence Modeling with Selective State Spaces" (arXiv 2312.00752), section 3. For channel
c and state n, with h starting at zero and delta' = softplus(delta + bias):

    h[n] <- exp(delta' A[c, n]) h[n] + delta' B[n] u        y = sum over n of C[n] h[n] + D[c] u
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dereflect.nn.selective_scan.inputs import ScanInputs

STEPS_AT_ONCE = 256  # steps whose factors are prepared together; bounds the memory, not the mathematics


def selective_scan_plain(inputs: ScanInputs) -> Tensor:
    """Scan step by step; see `dereflect.nn.selective_scan.selective_scan` for shapes."""
    if inputs.order is not None:
        return scan_both_ways(selective_scan_plain, inputs, inputs.order)
    u, delta, A, B, C = inputs.u, inputs.steps(), inputs.A, inputs.B, inputs.C
    batch, channels, length = u.shape
    repeats = channels // inputs.groups
    state = u.new_zeros(batch, channels, inputs.states)
    outputs = []
    for start in range(0, length, STEPS_AT_ONCE):
        part = slice(start, min(start + STEPS_AT_ONCE, length))
        step = delta[..., part].permute(2, 0, 1)[..., None]  # (T, B, D, 1)
        decay = torch.exp(step * A)  # (T, B, D, N)
        drive = step * u[..., part].permute(2, 0, 1)[..., None] * _per_channel(B[..., part], repeats)
        states = []
        for t in range(decay.shape[0]):
            state = torch.addcmul(drive[t], decay[t], state)
            states.append(state)
        readout = _per_channel(C[..., part], repeats)
        outputs.append((torch.stack(states) * readout).sum(-1).permute(1, 2, 0))
    return inputs.with_skip(torch.cat(outputs, dim=-1))


def _per_channel(grouped: Tensor, repeats: int) -> Tensor:
    """(B, G, N, T) to (T, B, G * repeats, N)."""
    return grouped.permute(3, 0, 1, 2).repeat_interleave(repeats, dim=2)


def scan_both_ways(scan: Callable[[ScanInputs], Tensor], inputs: ScanInputs, order: Tensor) -> Tensor:
    """Gather along an order and its reverse, scan both with `scan`, scatter back and add; by copies."""
    batch, channels, length = inputs.u.shape
    both = torch.stack([order, order.flip(-1)], dim=1)  # (B, 2, L)
    index = both[:, :, None]

    def gather(values: Tensor) -> Tensor:  # (B, 2, X, L) along the orders
        return values.gather(-1, index.expand(-1, -1, values.shape[2], -1))

    y = scan(
        inputs._replace(
            u=gather(inputs.u[:, None].expand(-1, 2, -1, -1)).reshape(batch, 2 * channels, length),
            delta=gather(inputs.delta).reshape(batch, 2 * channels, length),
            B=gather(inputs.B),
            C=gather(inputs.C),
            order=None,
        )
    ).reshape(batch, 2, channels, length)
    return torch.zeros_like(y).scatter(-1, index.expand(-1, -1, channels, -1), y).sum(1)

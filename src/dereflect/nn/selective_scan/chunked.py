"""The selective scan in plain PyTorch with few steps: for devices that have no kernel of their own.

A sequence of L steps is cut into about sqrt(L) chunks that run side by side. First all chunks run from zero,
to find the state each would hand on; then the states are handed on from chunk to chunk; then all run again
from where they truly start. That is 3 sqrt(L) steps instead of L, for twice the arithmetic.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from dereflect.nn.selective_scan.inputs import ScanInputs
from dereflect.nn.selective_scan.reference import scan_both_ways


def selective_scan_chunked(inputs: ScanInputs) -> Tensor:
    """Scan by chunks; see `dereflect.nn.selective_scan.selective_scan` for shapes."""
    if inputs.order is not None:
        return scan_both_ways(selective_scan_chunked, inputs, inputs.order)
    u, delta, A, B, C = inputs.u, inputs.steps(), inputs.A, inputs.B, inputs.C
    batch, channels, length = u.shape
    groups, states = inputs.groups, inputs.states
    size = max(1, math.isqrt(length))
    missing = -length % size

    def cut(x: Tensor) -> Tensor:  # (B, ..., L) to (T, B, ..., chunks)
        return F.pad(x, (0, missing)).unflatten(-1, (-1, size)).movedim(-1, 0)

    steps, drives = cut(delta), cut(delta * u)  # (T, B, D, chunks); padded steps of size 0 change nothing
    into, out_of = cut(B), cut(C)  # (T, B, G, N, chunks)
    rate = A[:, None]  # (D, 1, N)

    def advance(state: Tensor, t: int) -> Tensor:  # (B, D, chunks, N)
        drive = drives[t].unflatten(1, (groups, -1))[..., None] * into[t].transpose(2, 3)[:, :, None]
        return torch.exp(steps[t][..., None] * rate) * state + drive.flatten(1, 2)

    state = u.new_zeros(batch, channels, steps.shape[-1], states)
    for t in range(size):
        state = advance(state, t)
    decay = torch.exp(steps.sum(0)[..., None] * rate)
    starts = [u.new_zeros(batch, channels, states)]
    for chunk in range(steps.shape[-1] - 1):
        starts.append(decay[:, :, chunk] * starts[-1] + state[:, :, chunk])
    state = torch.stack(starts, dim=2)
    outputs = []
    for t in range(size):
        state = advance(state, t)
        weights = out_of[t].transpose(2, 3)[:, :, None]  # (B, G, 1, chunks, N)
        outputs.append((state.unflatten(1, (groups, -1)) * weights).sum(-1).flatten(1, 2))
    y = torch.stack(outputs, dim=-1).flatten(-2)[..., :length]
    return inputs.with_skip(y)

"""Disjoint sampling: push the two layers' predictions apart at every denoising step.

DiffRS, arXiv 2606.04107.

Everything here runs in float32: a sum of squares over a latent of 960x960 pixels overflows float16.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Disjoint = Literal["off", "code", "paper"]
"""Which form of disjoint sampling: none, that of the released code, or that of the paper."""


def per_sample_dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each sample, (B, ...) and (B, ...) to (B, 1, ..., 1)."""
    return (a * b).flatten(1).sum(dim=1).view(-1, *[1] * (a.dim() - 1))


def disjoint_code(t: Tensor, r: Tensor, k: float) -> tuple[Tensor, Tensor]:
    """The released code's form: ``t' = t + k (t - r_perp)``, ``r_perp = r - proj_t(r)``; likewise for r.

    Applied to the raw network outputs (v-predictions). Reductions are over each sample, so that a picture's
    result does not depend on the batch that it is in.

    Args:
        t: (B, ...) float32 prediction of the transmission.
        r: the same of the reflection.
        k: strength, 0 leaves both as they are.
    """
    dot = per_sample_dot(t, r)
    r_perp = r - dot / per_sample_dot(t, t) * t
    t_perp = t - dot / per_sample_dot(r, r) * r
    return t + k * (t - r_perp), r + k * (r - t_perp)


def disjoint_paper(t: Tensor, r: Tensor, k: float) -> tuple[Tensor, Tensor]:
    """The paper's form: ``t' = t + k (t - r)``, and likewise for r.

    It moves less where the two predictions agree.
    """
    return t + k * (t - r), r + k * (r - t)


def disjoint(t: Tensor, r: Tensor, k: float, form: Disjoint = "code") -> tuple[Tensor, Tensor]:
    """Apply the chosen form of disjoint sampling; "off" returns its inputs."""
    if form == "off" or k == 0:
        return t, r
    return (disjoint_code if form == "code" else disjoint_paper)(t, r, k)


def clean_estimate(z: Tensor, v: Tensor, alpha: Tensor) -> Tensor:
    """Tweedie's estimate of the clean latent from a v-prediction: ``sqrt(a) z - sqrt(1 - a) v``.

    Args:
        z: noisy latent.
        v: its v-prediction.
        alpha: cumulative product of alphas at the latent's timestep, a scalar tensor.
    """
    return torch.sqrt(alpha) * z - torch.sqrt(1 - alpha) * v

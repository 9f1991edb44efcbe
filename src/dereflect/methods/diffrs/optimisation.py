"""Test-time optimisation: pull the two noisy latents towards layers that explain the input.

DiffRS, arXiv 2606.04107.

The released code predicts anew in each of its inner iterations and back-propagates through the UNet. Neither
changes the result: the UNet's input does not change inside a call, and the gradient that is used ends at the
clean estimates. So one prediction serves the four iterations and the step itself, and only the small
synthesis network is differentiated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dereflect.methods.diffrs.sampling import clean_estimate

SynthesisFunction = Callable[[Tensor, Tensor], Tensor]
"""(clean transmission latent, clean reflection latent) to the latent of their mixture."""


@dataclass(frozen=True)
class LatentOptimisation:
    """How the latents are optimised; the defaults are the published ones.

    Attributes:
        every: denoising steps from one optimisation to the next, beginning at step 0.
        iterations: inner updates of one optimisation.
        loss_scale: factor of the mean square error.
        step_size: first factor of the update.
        decay: factor by which `step_size` shrinks with each denoising step.
    """

    every: int = 5
    iterations: int = 4
    loss_scale: float = 10.0
    step_size: float = 0.1
    decay: float = 0.99

    def due(self, step: int) -> bool:
        """Whether denoising step `step` (from 0) begins with an optimisation."""
        return step % self.every == 0

    def gamma(self, step: int) -> float:
        """Step size at denoising step `step`."""
        return self.step_size * self.decay**step


@dataclass
class OptimisationTrace:
    """What happened in one optimisation, for those who want to look: entries per inner iteration."""

    losses: list[Tensor] = field(default_factory=list)
    """(B,) each."""
    clean_t: list[Tensor] = field(default_factory=list)
    clean_r: list[Tensor] = field(default_factory=list)


def optimise_latents(
    z_t: Tensor,
    z_r: Tensor,
    v_t: Tensor,
    v_r: Tensor,
    z_i: Tensor,
    alpha: Tensor,
    step: int,
    synthesis: SynthesisFunction,
    settings: LatentOptimisation | None = None,
    trace: OptimisationTrace | None = None,
) -> tuple[Tensor, Tensor]:
    """One optimisation call: ``z <- z - gamma ||z|| dL/dx0`` with ``L = 10 mean((C(x0_T, x0_R) - z_I)^2)``.

    The gradient is that with respect to the clean estimates (as in the released code, not the paper); means
    and norms are per sample. Works inside `torch.no_grad`, but not inside `torch.inference_mode`.

    Args:
        z_t: (B, 4, h, w) float32 noisy latent of the transmission; not changed in place.
        z_r: the same of the reflection.
        v_t: raw v-prediction of the transmission, held fixed.
        v_r: the same of the reflection.
        z_i: latent of the input picture.
        alpha: cumulative product of alphas at the timestep.
        step: denoising step, from 0.
        synthesis: the latent synthesis network C, in float32.
        settings: the published ones if None.
        trace: filled with losses and clean estimates if given.

    Returns:
        The updated (z_t, z_r).
    """
    settings = settings or LatentOptimisation()
    gamma = settings.gamma(step)
    for _ in range(settings.iterations):
        clean_t = clean_estimate(z_t, v_t, alpha).detach().requires_grad_()
        clean_r = clean_estimate(z_r, v_r, alpha).detach().requires_grad_()
        with torch.enable_grad():
            losses = settings.loss_scale * (synthesis(clean_t, clean_r) - z_i).square().flatten(1).mean(dim=1)
            # Samples are independent, so the gradient of the sum holds each sample's own.
            grad_t, grad_r = torch.autograd.grad(losses.sum(), (clean_t, clean_r))
        if trace is not None:
            trace.losses.append(losses.detach())
            trace.clean_t.append(clean_t.detach())
            trace.clean_r.append(clean_r.detach())
        z_t = z_t - gamma * _norm(z_t) * grad_t
        z_r = z_r - gamma * _norm(z_r) * grad_r
    return z_t, z_r


def _norm(z: Tensor) -> Tensor:
    return z.flatten(1).norm(dim=1).view(-1, 1, 1, 1)

"""Losses of the default model on both layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dereflect.methods.default.settings import Settings
from dereflect.methods.objective import Batch


def separation_loss(
    settings: Settings, transmission: Tensor, reflection: Tensor, batch: Batch
) -> tuple[Tensor, dict[str, Tensor]]:
    """The whole loss but for its perceptual term, and its parts for the log.

    Pixel terms (L1 and squared), gradient L1 and, if ``logarithm`` > 0, the logarithm of each crop's squared
    error, the same for the reflection.

    Args:
        transmission, reflection: (B, 3, H, W) as separated.
        batch: ``transmission`` and ``reflection`` as they are, and ``weight`` (B, 1, 1, 1) of the reflection.
    """
    error = transmission - batch["transmission"]
    error_r = (reflection - batch["reflection"]) * batch["weight"]
    pixel, square, gradient = error.abs().mean(), error.square().mean(), _gradient(error)
    of_reflection = error_r.abs().mean() + 2 * error_r.square().mean() + 0.5 * _gradient(error_r)
    loss = settings.pixel * pixel + settings.square * square + settings.gradient * gradient
    if settings.logarithm > 0:
        loss = loss + settings.logarithm * _log_error(error).mean()
        weighted = _log_error(reflection - batch["reflection"]) * batch["weight"].flatten()
        of_reflection = of_reflection + settings.logarithm * weighted.mean()
    loss = loss + settings.reflection * of_reflection
    parts = {"pixel": pixel, "square": square, "gradient": gradient, "reflection": of_reflection}
    return loss, {name: part.detach() for name, part in parts.items()}


def perceptual_loss(judge: nn.Module, predicted: Tensor, target: Tensor) -> Tensor:
    """L1 between the features that an encoder finds in two pictures (B, 3, H, W), relative to `target`."""
    with torch.autocast(predicted.device.type, torch.bfloat16, enabled=predicted.device.type != "mps"):
        with torch.no_grad():
            wanted = judge(target)[:3]
        found = judge(predicted.clamp(0, 1))[:3]
    total = torch.zeros((), device=predicted.device)
    for a, b in zip(found, wanted, strict=True):
        total = total + (a - b).float().abs().mean() / (b.float().abs().mean() + 1e-3)
    return total / len(wanted)


def _log_error(error: Tensor) -> Tensor:
    """Logarithm of the mean squared error of each crop (N); from 40 dB on nothing more is to be won."""
    return (error.float().square().mean((1, 2, 3)) + 1e-4).log()


def _gradient(error: Tensor) -> Tensor:
    rows = (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    columns = (error[..., 1:] - error[..., :-1]).abs().mean()
    return rows + columns

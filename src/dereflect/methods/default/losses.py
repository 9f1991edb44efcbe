"""The losses of the default model, each on a batch of estimates and what they should have been."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dereflect.methods.default.network import Estimate
from dereflect.methods.default.settings import Settings
from dereflect.nn.losses import differences, exclusion_loss

BEST = 1e-4
"""Mean squared error below which nothing more is to be won: 40 dB."""


def losses(
    settings: Settings, found: Estimate, wanted: Mapping[str, Tensor], judge: nn.Module | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum, and its parts before weighting.

    Args:
        settings: the weights.
        found: of the network.
        wanted: of `crops.develop`.
        judge: gives a list of feature maps of a picture; None for no perceptual term.
    """
    error = found.transmission - wanted["transmission"]
    off = found.reflection - wanted["reflection"]
    parts = {
        "pixel": error.abs().mean(),
        "square": error.square().mean(),
        "gradient": _gradient(error),
        "reflection": _reflection(off, wanted["weight"], settings.logarithm),
    }
    if settings.logarithm:
        parts["logarithm"] = _log_error(error).mean()
    if settings.aligned:
        parts["aligned"] = _aligned_error(found.transmission, wanted["transmission"]).mean()
    if settings.exclusion:
        parts["exclusion"] = exclusion_loss(found.transmission, found.reflection)
    if settings.tone and found.tone is not None:
        parts["tone"] = F.l1_loss(found.tone, global_tone(wanted["blended"], wanted["transmission"]))
    if settings.remainder and found.remainder is not None:
        explained = found.transmission + found.reflection + found.remainder
        parts["remainder"] = F.l1_loss(explained, wanted["blended"])
    if settings.perceptual and judge is not None:
        parts["perceptual"] = _perceptual(judge, found.transmission, wanted["transmission"])
    total = sum((getattr(settings, name) * part for name, part in parts.items()), error.new_zeros(()))
    return total, parts


def global_tone(blended: Tensor, transmission: Tensor) -> Tensor:
    """(B, 6): gain less 1 and offset of each channel that bring the photo nearest to the transmission.

    Least squares over the picture, with a little weight on a gain of 1 so that flat pictures have an answer.
    """
    x, y = blended.flatten(2), transmission.flatten(2)
    mean_x, mean_y = x.mean(2), y.mean(2)
    covariance = ((x - mean_x[..., None]) * (y - mean_y[..., None])).mean(2)
    variance = (x - mean_x[..., None]).square().mean(2)
    gain = (covariance + 1e-3) / (variance + 1e-3)
    return torch.cat([gain - 1, mean_y - gain * mean_x], dim=1)


def _reflection(off: Tensor, weight: Tensor, logarithm: float) -> Tensor:
    weighted = off * weight
    loss = weighted.abs().mean() + 2 * weighted.square().mean() + 0.5 * _gradient(weighted)
    if logarithm:
        loss = loss + logarithm * (_log_error(off) * weight.flatten()).mean()
    return loss


def _log_error(error: Tensor) -> Tensor:
    """(B,) logarithm of the mean squared error of each crop."""
    return (error.float().square().mean((1, 2, 3)) + BEST).log()


def _aligned_error(found: Tensor, wanted: Tensor) -> Tensor:
    """(B,) `_log_error` after the gain and offset of each channel that bring `found` nearest to `wanted`.

    Brightness and contrast are out of it, so that what is left to learn is which layer an edge belongs to.
    """
    x, y = (layer - layer.mean((2, 3), keepdim=True) for layer in (found.float(), wanted.float()))
    gain = (x * y).mean((2, 3), keepdim=True) / (x.square().mean((2, 3), keepdim=True) + BEST)
    return _log_error(gain * x - y)


def _gradient(error: Tensor) -> Tensor:
    rows, columns = differences(error)
    return rows.abs().mean() + columns.abs().mean()


def _perceptual(judge: nn.Module, found: Tensor, wanted: Tensor) -> Tensor:
    """Mean over the judge's maps of their absolute difference, relative to their own size."""
    with torch.no_grad():
        right = judge(wanted)
    total = found.new_zeros(())
    for a, b in zip(judge(found.clamp(0, 1)), right, strict=True):
        total = total + (a - b).float().abs().mean() / (b.float().abs().mean() + 1e-3)
    return total / len(right)

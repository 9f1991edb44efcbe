"""Noise: what sampling starts from, and what training adds (as Marigold does, arXiv 2312.02145)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from dereflect.errors import InputError

Generators = torch.Generator | Sequence[torch.Generator] | None
"""One source of noise for all, one for each picture, or torch's own."""


def draw_noise(like: Tensor, generator: Generators = None) -> Tensor:
    """Initial noise (2B, 4, h, w): for each picture the transmission's is drawn first, then the reflection's.

    Args:
        like: (B, 4, h, w); the noise has its device.
        generator: one for all, or one for each picture. Noise is drawn on the generator's own device.
    """
    pictures = like.shape[0]
    sources = list(generator) if isinstance(generator, Sequence) else [generator] * pictures
    if len(sources) != pictures:
        raise InputError("generator", f"{len(sources)} generators for {pictures} pictures; give one for each")
    drawn = [
        torch.randn(
            (1, *like.shape[1:]),
            generator=source,
            device=source.device if source is not None else like.device,
        )
        for source in sources
        for _ in range(2)
    ]
    return torch.cat(drawn[0::2] + drawn[1::2]).to(like.device)


def multi_resolution_noise(
    shape: torch.Size | tuple[int, int, int, int],
    strength: float | Tensor = 0.9,
    generator: torch.Generator | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Gaussian noise plus upsampled coarser noise, of overall standard deviation 1.

    Sizes shrink by a random factor at each of up to ten levels, until a side is one.

    Args:
        shape: (B, C, H, W).
        strength: weight of level i is ``strength**i``: a number, or one for each sample (B,), e.g. ``0.9 * t
            / 1000``.
        generator: source of noise.
        device: where to draw; the generator's device if None.

    Returns:
        (B, C, H, W) float32.
    """
    if device is None and generator is not None:
        device = generator.device
    batch, channels, height, width = shape
    full = (height, width)
    scale = strength.to(device).view(-1, 1, 1, 1) if isinstance(strength, Tensor) else strength
    noise = torch.randn((batch, channels, height, width), generator=generator, device=device)
    for level in range(10):
        factor = float(torch.rand(1, generator=generator, device=device) * 2 + 2) ** level
        height, width = max(1, int(height / factor)), max(1, int(width / factor))
        coarse = torch.randn((batch, channels, height, width), generator=generator, device=device)
        noise = noise + F.interpolate(coarse, size=full, mode="bilinear") * scale**level
        if height == 1 or width == 1:
            break
    return noise / noise.std()

"""The camera behind the glass, for batches (B, 3, H, W): tone curve, sensor noise and JPEG."""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
"""Quantisation of brightness at quality 50 (ITU-T T.81, table K.1)."""
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8 for _ in range(4)),
)
"""Quantisation of colour at quality 50 (ITU-T T.81, table K.2)."""


def to_light(display: Tensor, curve: Tensor) -> Tensor:
    """Display values in [0, 1] to light, by the exponent `curve`."""
    return display.clamp(0, 1) ** curve


def tone(light: Tensor, curve: Tensor, contrast: Tensor) -> Tensor:
    """Light to display values in [0, 1], clipped as a sensor clips, with an S-shaped contrast."""
    values = light.clamp(0, 1) ** (1 / curve)
    return (values - contrast * torch.sin(2 * math.pi * values) / (2 * math.pi)).clamp(0, 1)


def jpeg(images: Tensor, quality: Tensor, halved: Tensor) -> Tensor:
    """What JPEG of the given qualities leaves of a batch (rounding, quantisation and colour at half size).

    Args:
        images: (B, 3, H, W) in [0, 1], H and W multiples of 16.
        quality: (B,) as libjpeg counts it, 1 to 100; 0 leaves that picture alone.
        halved: (B,) 1 where colour is held at half the resolution.

    Returns:
        (B, 3, H, W) in [0, 1].
    """
    wanted = quality > 0
    if not bool(wanted.any()):
        return images
    chosen, q, half = images[wanted], quality[wanted].clamp(1, 100), halved[wanted].view(-1, 1, 1, 1)
    scale = torch.where(q < 50, 50 / q, 2 - q / 50)[:, None, None]
    matrix = images.new_tensor(_YCC)
    ycc = torch.einsum("ij,bjhw->bihw", matrix, chosen * 255)
    colour = ycc[:, 1:]
    full = _quantise(colour, scale, CHROMINANCE)
    coarse = _quantise(F.avg_pool2d(colour, 2), scale, CHROMINANCE)
    coarse = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
    planes = torch.cat(
        [_quantise(ycc[:, :1] - 128, scale, LUMINANCE) + 128, torch.lerp(full, coarse, half)], 1
    )
    rgb = torch.einsum("ij,bjhw->bihw", torch.linalg.inv(matrix), planes)
    result = images.clone()
    result[wanted] = (rgb.round() / 255).clamp(0, 1)
    return result


def _quantise(planes: Tensor, scale: Tensor, table: tuple[tuple[int, ...], ...]) -> Tensor:
    """Cosine transform of 8 x 8 blocks, rounded to multiples of the scaled table, and back."""
    batch, channels, height, width = planes.shape
    basis = _cosines().to(planes)
    steps = ((planes.new_tensor(table)[None] * scale + 0.5).floor().clamp(1, 255)).view(batch, 1, 1, 1, 8, 8)
    blocks = planes.view(batch, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
    found = basis @ blocks @ basis.T
    back = basis.T @ ((found / steps).round() * steps) @ basis
    return back.transpose(3, 4).reshape(batch, channels, height, width)


@functools.cache
def _cosines() -> Tensor:
    """(8, 8) the orthonormal cosine transform of a block's rows."""
    k, n = torch.arange(8.0)[:, None], torch.arange(8.0)[None]
    basis = torch.cos((2 * n + 1) * k * math.pi / 16) / 2
    basis[0] /= math.sqrt(2)
    return basis


_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
"""Red, green and blue to brightness and two colours (JFIF 1.02)."""

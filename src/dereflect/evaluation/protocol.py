"""Protocols: how each paper's published numbers were measured, as named presets.

A number means nothing without its protocol: 8-bit truncation alone moves PSNR by 0.05 to 0.3 dB, the luma
convention by 1.3 dB. A `Protocol` says what each of its columns follows, and its `measure` computes them from
two float pictures.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dereflect.evaluation.metrics import (
    lmse,
    luma_full_range,
    luma_studio_range,
    ncc,
    psnr,
    psnr_per_channel,
    ssim,
)

Floats = NDArray[np.floating[Any]]
Rounding = Literal["float", "truncated", "rounded"]


def to_levels(picture: Floats, rounding: Rounding) -> NDArray[Any]:
    """Bring a picture in [0, 1] to 0..255: clipped, as float32 or as uint8 cut off or rounded to the nearest
    level.
    """
    levels = np.clip(picture, 0, 1).astype(np.float32) * np.float32(255)
    if rounding == "float":
        return levels
    return (levels if rounding == "truncated" else np.rint(levels)).astype(np.uint8)


def measure_ytmt(estimate: Floats, target: Floats) -> dict[str, float]:
    """The YTMT evaluation: float values (not 8 bit), PSNR and SSIM (7x7 uniform) per channel then averaged,
    NCC, LMSE.

    Args:
        estimate: (H, W, 3) in [0, 1]; values outside are clipped.
        target: the same shape.
    """
    x, y = to_levels(estimate, "float"), to_levels(target, "float")
    return {"psnr": psnr_per_channel(x, y), "ssim": ssim(x, y), "ncc": ncc(x, y), "lmse": lmse(x, y)}


def measure_dmdnet(estimate: Floats, target: Floats) -> dict[str, float]:
    """DMDNet's offline evaluation of saved PNGs: truncated to 8 bit, joint PSNR, 7x7 SSIM, and both on
    full-range luma.

    Takes floats in [0, 1], or 8-bit pictures as they are.
    """
    x, y = (p if p.dtype == np.uint8 else to_levels(p, "truncated") for p in (estimate, target))
    luma_x, luma_y = luma_full_range(x), luma_full_range(y)
    return {
        "psnr": psnr(x, y),
        "ssim": ssim(x, y),
        "psnr_y": psnr(luma_x, luma_y),
        "ssim_y": ssim(luma_x, luma_y),
    }


def measure_dmdnet_online(estimate: Floats, target: Floats) -> dict[str, float]:
    """What DMDNet's training script logs: float PSNR and SSIM by channel; studio-range luma of truncated 8
    bit.

    Args:
        estimate: (H, W, 3) in 0..255, not clipped and not rounded.
        target: the same, or 8 bit.
    """
    luma_x, luma_y = (luma_studio_range(p.astype(np.uint8)) for p in (estimate, target))
    return {
        "psnr": psnr_per_channel(estimate, target),
        "ssim": ssim(estimate, target),
        "psnr_y": psnr(luma_x, luma_y),
        "ssim_y": ssim(luma_x, luma_y),
    }

"""Protocols: how each paper's numbers were measured, as named presets.

A number means nothing without its protocol: cutting to 8 bit alone moves PSNR by 0.05 to 0.3 dB, the luma
convention by 1.3 dB, another window SSIM by 0.001. A `Protocol` fixes resizing, rounding and the convention
of each column, and can say so in words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dereflect.errors import UNNAMED, InputError
from dereflect.evaluation import metrics
from dereflect.evaluation.ms_ssim import ms_ssim
from dereflect.images.fidelity import align
from dereflect.images.picture import Array

Rounding = Literal["float", "truncated", "rounded"]
Perceptual = Mapping[str, Callable[[Array, Array], float]]
"""Learned measures by column name (`dereflect.evaluation.perceptual`), each of two pictures in [0, 1]."""


@dataclass(frozen=True)
class Metric:
    """One measured number and its convention."""

    name: str
    title: str
    convention: str
    compute: Callable[[Array, Array], float] | None
    """Of two pictures in 0..255; None for learned measures, which need weights."""
    higher_is_better: bool = True
    digits: int = 3
    aligned: bool = False
    """Whether the estimate first takes the gain and offset of each channel that bring it nearest to the truth
    (`dereflect.images.fidelity.align`); it is clipped and rounded after that.
    """
    harm: float | None = None
    """A loss larger than this makes a photo worse; None where that is not counted."""


def _luma(measure: Callable[[Array, Array], float]) -> Callable[[Array, Array], float]:
    return lambda x, y: measure(metrics.luma_full_range(x), metrics.luma_full_range(y))


def _gaussian_ssim(estimate: Array, target: Array) -> float:
    return metrics.ssim(estimate, target, window="gaussian")


HARM = 0.5
"""dB that a photo may lose before it counts as made worse."""


def _psnr_columns(convention: str, compute: Callable[[Array, Array], float]) -> tuple[Metric, Metric]:
    """PSNR as it is, and after the best gain and offset."""
    fitted = f"{convention}, after the best gain and offset of each channel (least squares onto the truth)"
    return (
        Metric("psnr", "PSNR", convention, compute, digits=2, harm=HARM),
        Metric("psnr_aligned", "aligned PSNR", fitted, compute, digits=2, aligned=True, harm=HARM),
    )


PSNR, PSNR_ALIGNED = _psnr_columns("dB, one error over all three channels", metrics.psnr)
PSNR_BY_CHANNEL, PSNR_ALIGNED_BY_CHANNEL = _psnr_columns(
    "dB, per channel, then averaged", metrics.psnr_per_channel
)
SSIM = Metric("ssim", "SSIM", "uniform 7x7 window (scikit-image's default), per channel", metrics.ssim)
MS_SSIM = Metric("ms_ssim", "MS-SSIM", "five scales, Gaussian 11x11 window, sigma 1.5", ms_ssim)
SSIM_GAUSSIAN = Metric("ssim_gaussian", "SSIM-G", "Gaussian 11x11 window, sigma 1.5", _gaussian_ssim)
PSNR_Y = Metric("psnr_y", "PSNR-Y", "dB, on full-range 8-bit luma (BT.601)", _luma(metrics.psnr), digits=2)
SSIM_Y = Metric("ssim_y", "SSIM-Y", "7x7 window on full-range 8-bit luma (BT.601)", _luma(metrics.ssim))
NCC = Metric("ncc", "NCC", "normalised cross-correlation of the whole array", metrics.ncc)
LMSE = Metric("lmse", "LMSE", "20x20 windows, stride 10, each rescaled", metrics.lmse, False)
LPIPS = {
    net: Metric(f"lpips_{net}", f"LPIPS-{net}", f"LPIPS v0.1, {net}, whole picture in [-1, 1]", None, False)
    for net in ("alex", "vgg", "squeeze")
}
DISTS = Metric("dists", "DISTS", "DISTS, VGG-16, at the picture's own size", None, False)


@dataclass(frozen=True)
class Protocol:
    """Everything that fixes a number besides the pictures and the model."""

    name: str
    source: str
    columns: tuple[Metric, ...]
    rounding: Rounding
    """What is compared: floats, or 8-bit values cut off or rounded to the nearest level."""
    multiple: int = 1
    """Photo and truths are resized (bicubic, 8 bit) so that the truth's sides become multiples of this."""
    longest: int | None = None
    """Longer sides are first reduced to this; sides below the multiple are then enlarged to it."""
    square: int | None = None
    """The model is given the photo resized to this square (bilinear); its layers are resized back."""

    def size_rule(self) -> str:
        """The size rule in words."""
        if self.square:
            return (
                f"separated at {self.square}x{self.square}, layers resized back, compared at the truth's size"
            )
        if self.multiple > 1:
            first = f"reduced to {self.longest} pixels where they are longer, then " if self.longest else ""
            return f"photo and truth {first}resized down to multiples of {self.multiple}"
        return "no resizing"

    def rounding_rule(self) -> str:
        """The rounding rule in words."""
        return {
            "float": "float values, not rounded to 8 bit",
            "truncated": "8 bit, fractions cut off",
            "rounded": "8 bit, rounded to the nearest level",
        }[self.rounding]

    def aligned_size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) to which photo and truths of a pair are resized before anything else.

        Raises:
            InputError: the picture is smaller than the multiple.
        """
        if self.longest:
            if width > self.longest and width >= height:
                width, height = self.longest, int(height * (self.longest / width))
            elif height > self.longest:
                width, height = int(width * (self.longest / height)), self.longest
            width, height = max(self.multiple, width), max(self.multiple, height)
        if min(width, height) < self.multiple:
            raise InputError(
                UNNAMED,
                f"protocol {self.name} needs at least {self.multiple} pixels a side, not {width}x{height}",
            )
        return width // self.multiple * self.multiple, height // self.multiple * self.multiple

    def measure(
        self, estimate: Array, target: Array, perceptual: Perceptual | None = None
    ) -> dict[str, float]:
        """Measure one layer of one picture.

        Args:
            estimate: (H, W, 3) floats in [0, 1], clipped where outside, or 8-bit values as they are.
            target: the same shape.
            perceptual: the learned measures that have weights; columns without are left out.
        """
        x, y = (to_levels(picture, self.rounding) for picture in (estimate, target))
        fitted = to_levels(align(unit(estimate), unit(target)), self.rounding)
        found = {}
        for column in self.columns:
            if column.compute is not None:
                found[column.name] = column.compute(fitted if column.aligned else x, y)
            elif perceptual and column.name in perceptual:
                found[column.name] = perceptual[column.name](x / np.float32(255), y / np.float32(255))
        return found


def unit(picture: Array) -> Array:
    """A picture, 8-bit or in [0, 1], as floats in [0, 1], clipped where outside."""
    return picture / np.float32(255) if picture.dtype == np.uint8 else np.clip(picture, 0, 1)


def to_levels(picture: Array, rounding: Rounding) -> Array:
    """Bring a picture in [0, 1] to 0..255: clipped, then float32 or uint8; uint8 pictures keep values."""
    if picture.dtype == np.uint8:
        return picture.astype(np.float32) if rounding == "float" else picture
    levels = np.clip(picture, 0, 1).astype(np.float32) * np.float32(255)
    if rounding == "float":
        return levels
    return (levels if rounding == "truncated" else np.rint(levels)).astype(np.uint8)


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "plain",
            "this project: what a person gets in the saved PNG, at the photo's own size",
            (PSNR, PSNR_ALIGNED, SSIM, SSIM_GAUSSIAN, NCC, LMSE, *LPIPS.values(), DISTS),
            "rounded",
        ),
        Protocol(
            "ytmt",
            "YTMT (NeurIPS 2021), evaluation of its published code",
            (PSNR_BY_CHANNEL, PSNR_ALIGNED_BY_CHANNEL, SSIM, NCC, LMSE),
            "float",
            multiple=16,
        ),
        Protocol(
            "dmdnet",
            "DMDNet (AAAI 2026), offline evaluation of saved PNGs",
            (PSNR, PSNR_ALIGNED, SSIM, PSNR_Y, SSIM_Y, LPIPS["alex"]),
            "truncated",
        ),
        Protocol(
            "diffrs",
            "DiffRS (CVPR 2026), sizes and 8-bit rule of its published inference code",
            (PSNR, PSNR_ALIGNED, SSIM, LPIPS["alex"], DISTS),
            "truncated",
            square=960,
        ),
        Protocol(
            "rdnet",
            "RDNet (CVPR 2025), evaluation of the XReflection toolbox",
            (PSNR_BY_CHANNEL, PSNR_ALIGNED_BY_CHANNEL, SSIM, NCC, LMSE),
            "float",
            multiple=32,
        ),
        Protocol(
            "rdnet-photo",
            "RDNet (CVPR 2025), sizes of its first code for photos of one's own",
            (PSNR_BY_CHANNEL, PSNR_ALIGNED_BY_CHANNEL, SSIM, NCC, LMSE),
            "float",
            multiple=32,
            longest=1024,
        ),
        Protocol(
            "windowseat",
            "WindowSeat (2025), its reproducibility script on saved PNGs",
            (PSNR, PSNR_ALIGNED, SSIM, MS_SSIM, LPIPS["alex"]),
            "truncated",
        ),
        Protocol(
            "dsit",
            "DSIT (NeurIPS 2024), evaluation of its first repository and of the XReflection toolbox",
            (PSNR_BY_CHANNEL, PSNR_ALIGNED_BY_CHANNEL, SSIM, NCC, LMSE),
            "float",
            multiple=32,
        ),
        Protocol(
            "dsrnet",
            "DSRNet (ICCV 2023), evaluation of its first repository and of the XReflection toolbox",
            (PSNR_BY_CHANNEL, PSNR_ALIGNED_BY_CHANNEL, SSIM, NCC, LMSE),
            "float",
            multiple=32,
        ),
    )
}


def find_protocol(name: str) -> Protocol:
    """A preset by name.

    Raises:
        InputError: no preset of that name.
    """
    if name not in PROTOCOLS:
        raise InputError(name, f"unknown; one of {', '.join(PROTOCOLS)}", option="protocol")
    return PROTOCOLS[name]

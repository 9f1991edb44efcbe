"""LPIPS and DISTS as small networks of our own; their published weights are read from disk, never shipped.

Without weights a measure is absent, with the reason; never a number from other weights.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dereflect.downloads import fetch as download
from dereflect.downloads import show_progress
from dereflect.errors import UNNAMED, InputError
from dereflect.evaluation.backbones import Features, alexnet, squeezenet, vgg16
from dereflect.images.picture import Array
from dereflect.weights import cache_folder, check_keys, read_checkpoint

ENVIRONMENT_VARIABLE = "DEREFLECT_METRIC_WEIGHTS"
NETS: dict[str, tuple[Callable[[], Features], tuple[int, ...]]] = {
    "alex": (alexnet, (64, 192, 384, 256, 256)),
    "vgg": (vgg16, (64, 128, 256, 512, 512)),
    "squeeze": (squeezenet, (64, 128, 256, 384, 384, 512, 512)),
}


class Lpips(nn.Module):
    """LPIPS v0.1 (Zhang et al., CVPR 2018, eq. 1): weighted squared differences of unit-length features.

    With y^l the features of layer l, each pixel's vector scaled to length one, and w_l the learned weights of
    the channels: the sum over l of the mean over pixels of sum_c w_lc (x^l_c - y^l_c)^2. Keys of the learned
    part: ``lin0.model.1.weight`` ... as published.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, net: str) -> None:
        super().__init__()
        build, channels = NETS[net]
        self.backbone = build()
        for level, width in enumerate(channels):
            # The published files were trained with a dropout at index 0; it does nothing here.
            head = nn.Sequential(nn.Identity(), nn.Conv2d(width, 1, 1, bias=False))
            self.add_module(f"lin{level}", nn.ModuleDict({"model": head}))
        self.levels = len(channels)
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.eval()

    def forward(self, estimate: Tensor, target: Tensor) -> Tensor:
        """Distance of two batches (B, 3, H, W) in [0, 1]: (B,), 0 for equal pictures."""
        pairs = [self.backbone((2 * image - 1 - self.shift) / self.scale) for image in (estimate, target)]
        total = estimate.new_zeros(len(estimate))
        for level, (x, y) in enumerate(zip(*pairs, strict=True)):
            difference = (_unit_length(x) - _unit_length(y)) ** 2
            head: Any = self.get_submodule(f"lin{level}.model")
            total = total + head(difference).mean((1, 2, 3))
        return total


def _unit_length(features: Tensor) -> Tensor:
    return features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)


class HanningPool(nn.Module):
    """DISTS' pooling: root of the squares averaged under a 3x3 Hanning window, stride 2."""

    window: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        taps = torch.tensor([0.25, 0.5, 0.25])
        window = torch.outer(taps, taps).expand(channels, 1, 3, 3).clone()
        self.register_buffer("window", window, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, ceil(H / 2), ceil(W / 2))."""
        pooled = nn.functional.conv2d(x.square(), self.window, stride=2, padding=1, groups=x.shape[1])
        return (pooled + 1e-12).sqrt()


class Dists(nn.Module):
    """DISTS (Ding et al., IEEE TPAMI 2022, eqs. 3 to 7): agreement of channel means and of structure.

    Features are the picture itself and five VGG-16 levels with Hanning pooling. With mean m, variance v and
    covariance c over all positions of a channel: 1 - sum_j (alpha_j (2 m_x m_y + e) / (m_x^2 + m_y^2 + e)
    + beta_j (2 c + e) / (v_x + v_y + e)), e = 1e-6, alpha and beta together scaled to sum 1.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.backbone = vgg16(HanningPool)
        self.alpha = nn.Parameter(torch.zeros(1, 1475, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, 1475, 1, 1))
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.eval()

    def forward(self, estimate: Tensor, target: Tensor) -> Tensor:
        """Distance of two batches (B, 3, H, W) in [0, 1]: (B,), 0 for equal pictures."""
        xs, ys = (
            [image, *self.backbone((image - self.mean) / self.deviation)] for image in (estimate, target)
        )
        means, structures = [], []
        for x, y in zip(xs, ys, strict=True):
            mx, my = x.mean((2, 3)), y.mean((2, 3))
            vx, vy = ((f - m[..., None, None]).square().mean((2, 3)) for f, m in ((x, mx), (y, my)))
            covariance = (x * y).mean((2, 3)) - mx * my
            means.append((2 * mx * my + 1e-6) / (mx.square() + my.square() + 1e-6))
            structures.append((2 * covariance + 1e-6) / (vx + vy + 1e-6))
        alpha, beta = self.alpha.flatten(), self.beta.flatten()
        total = alpha.sum() + beta.sum()
        agreement = torch.cat(means, 1) @ (alpha / total) + torch.cat(structures, 1) @ (beta / total)
        return 1 - agreement


@dataclass(frozen=True)
class WeightsFile:
    """A published file: its possible names, where its authors offer it, its SHA-256 or the start of that."""

    names: tuple[str, ...]
    url: str
    digest: str


_LPIPS = "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1"
_TORCHVISION = "https://download.pytorch.org/models"


def _backbone(name: str) -> WeightsFile:
    """torchvision's file names end in the start of their SHA-256."""
    return WeightsFile((name,), f"{_TORCHVISION}/{name}", name.rpartition("-")[2].removesuffix(".pth"))


_VGG16 = _backbone("vgg16-397923af.pth")
FILES = {
    "lpips_alex": (
        WeightsFile(
            ("lpips_alex.pth", "alex.pth"),
            f"{_LPIPS}/alex.pth",
            "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        ),
        _backbone("alexnet-owt-7be5be79.pth"),
    ),
    "lpips_vgg": (
        WeightsFile(
            ("lpips_vgg.pth", "vgg.pth"),
            f"{_LPIPS}/vgg.pth",
            "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
        ),
        _VGG16,
    ),
    "lpips_squeeze": (
        WeightsFile(
            ("lpips_squeeze.pth", "squeeze.pth"),
            f"{_LPIPS}/squeeze.pth",
            "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76",
        ),
        _backbone("squeezenet1_1-b8a52dc0.pth"),
    ),
    # The authors' file weights.pt, from their repository dingkeyan93/DISTS; its digest is not known to us.
    "dists": (WeightsFile(("dists.pt", "weights.pt"), "", ""), _VGG16),
}


def load_perceptual(
    columns: Sequence[str], folder: Path | None = None, fetch: bool = False
) -> tuple[dict[str, Callable[[Array, Array], float]], dict[str, str]]:
    """The learned measures that can be had, by column name.

    Args:
        columns: names in `FILES`; others are skipped.
        folder: where the weights lie; else ``$DEREFLECT_METRIC_WEIGHTS``, else ``metrics`` in the cache.
        fetch: download missing files into `folder`, where their checksum is known.

    Returns:
        (measures of two (H, W, 3) pictures in [0, 1], reasons of those that are absent).

    Raises:
        ModelError: a file is there but is not what its name says.
    """
    place = folder or Path(os.environ.get(ENVIRONMENT_VARIABLE) or cache_folder() / "metrics")
    found: dict[str, Callable[[Array, Array], float]] = {}
    absent: dict[str, str] = {}
    for column in columns:
        if column not in FILES:
            continue
        try:
            learned, backbone = (_find(file, place, fetch) for file in FILES[column])
        except FileNotFoundError as error:
            absent[column] = str(error)
            continue
        found[column] = _as_measure(build_perceptual(column, learned, backbone))
    return found, absent


def build_perceptual(column: str, learned: Path, backbone: Path) -> Lpips | Dists:
    """A measure's network from its two weights files.

    Raises:
        InputError, ModelError: a file that cannot be read, or whose tensors do not fit.
    """
    net = Dists() if column == "dists" else Lpips(column.removeprefix("lpips_"))
    stack: Mapping[str, Tensor] = net.backbone.state_dict()
    given = {k: v for k, v in read_checkpoint(backbone).items() if k in stack}
    check_keys(stack, given, str(backbone))
    own = {k: v for k, v in net.state_dict().items() if not k.startswith("backbone.")}
    heads = read_checkpoint(learned)
    check_keys(own, heads, str(learned))
    net.load_state_dict({f"backbone.{k}": v for k, v in given.items()} | dict(heads))
    return net


def _as_measure(net: nn.Module) -> Callable[[Array, Array], float]:
    def measure(estimate: Array, target: Array) -> float:
        if min(estimate.shape[:2]) < 32:
            raise InputError(UNNAMED, f"{type(net).__name__.upper()} needs at least 32x32 pixels")
        with torch.inference_mode():
            x, y = (torch.from_numpy(_planes(picture)) for picture in (estimate, target))
            return float(net(x, y))

    return measure


def _planes(picture: Array) -> Array:
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None], dtype=np.float32)


def _find(file: WeightsFile, folder: Path, fetch: bool) -> Path:
    for name in file.names:
        if (folder / name).is_file():
            return folder / name
    if fetch and file.digest:
        return download(file.url, folder / file.names[0], f"sha256:{file.digest}", report=show_progress())
    raise FileNotFoundError(f"no weights, {' or '.join(file.names)} is not in {folder}")

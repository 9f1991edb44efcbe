"""The depth network of DMDNet: MiDaS v3.1 "dpt_next_vit_large_384", a DPT decoder on a Next-ViT-L backbone.

"Vision Transformers for Dense Prediction" (arXiv 2103.13413) and "MiDaS v3.1" (arXiv 2307.14460). It serves
DMDNet with the raw picture in [0, 1], neither normalised nor resized, and is usable by itself. What never
influences the result (the backbone's classification end, the first residual unit of the coarsest fusion) is
not built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dereflect.downloads import show_progress
from dereflect.errors import ModelError
from dereflect.methods.dmdnet.network import DepthFeatures, pad_to_multiple
from dereflect.methods.dmdnet.next_vit import NextViT
from dereflect.weights import check_keys, download, read_checkpoint

FILE_NAME = "dpt_next_vit_large_384.pt"
URL = f"https://github.com/isl-org/MiDaS/releases/download/v3_1/{FILE_NAME}"

UNUSED_SHAPES: dict[str, tuple[int, ...]] = {
    "pretrained.model.norm.weight": (1024,),
    "pretrained.model.norm.bias": (1024,),
    "pretrained.model.norm.running_mean": (1024,),
    "pretrained.model.norm.running_var": (1024,),
    "pretrained.model.norm.num_batches_tracked": (),
    "pretrained.model.proj_head.0.weight": (1000, 1024),
    "pretrained.model.proj_head.0.bias": (1000,),
    "scratch.refinenet4.resConfUnit1.conv1.weight": (256, 256, 3, 3),
    "scratch.refinenet4.resConfUnit1.conv1.bias": (256,),
    "scratch.refinenet4.resConfUnit1.conv2.weight": (256, 256, 3, 3),
    "scratch.refinenet4.resConfUnit1.conv2.bias": (256,),
}
"""Entries of the official file that play no part in the result."""


class ResidualUnit(nn.Module):
    """ReLU, convolution, ReLU, convolution, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class FusionBlock(nn.Module):
    """Joins a finer feature map to what came from the coarser one, and enlarges."""

    def __init__(self, channels: int, coarsest: bool = False) -> None:
        super().__init__()
        if not coarsest:
            self.resConfUnit1 = ResidualUnit(channels)
        self.resConfUnit2 = ResidualUnit(channels)
        self.out_conv = nn.Conv2d(channels, channels, 1)

    def forward(self, finer: Tensor, coarser: Tensor | None, size: tuple[int, int]) -> Tensor:
        """Feature maps (B, C, H, W) to (B, C, *size)."""
        x = finer if coarser is None else coarser + self.resConfUnit1(finer)
        # The 1x1 convolution commutes with the enlargement and is cheaper before it.
        x = self.out_conv(self.resConfUnit2(x))
        return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


@dataclass(frozen=True)
class DepthResult:
    """All that the depth network gives."""

    layers: tuple[Tensor, Tensor, Tensor, Tensor]
    """Backbone features: 96, 256, 512, 1024 channels at strides 4, 8, 16, 32."""
    narrowed: tuple[Tensor, Tensor, Tensor, Tensor]
    """The same at 256 channels (``layer*_rn``)."""
    paths: tuple[Tensor, Tensor, Tensor]
    """Decoder features (``path_1`` to ``path_3``)."""
    proximity: Tensor
    """(B, 1, H, W): inverse depth, not below zero, of no fixed range."""


class Scratch(nn.Module):
    """DPT decoder of width 256; named as in the published weights."""

    def __init__(self, channels: int = 256) -> None:
        super().__init__()
        for i, width in enumerate((96, 256, 512, 1024), start=1):
            self.add_module(f"layer{i}_rn", nn.Conv2d(width, channels, 3, padding=1, bias=False))
            self.add_module(f"refinenet{i}", FusionBlock(channels, coarsest=i == 4))
        # Positions 1, 3 and 5 are an enlargement and two ReLUs, written out in `forward`.
        self.output_conv = nn.ModuleDict(
            {
                "0": nn.Conv2d(channels, channels // 2, 3, padding=1),
                "2": nn.Conv2d(channels // 2, 32, 3, padding=1),
                "4": nn.Conv2d(32, 1, 1),
            }
        )

    def forward(self, layers: list[Tensor]) -> DepthResult:
        """Backbone features to everything."""
        narrowed = [self.get_submodule(f"layer{i}_rn")(x) for i, x in enumerate(layers, start=1)]
        path, paths = None, []
        for i in (4, 3, 2, 1):
            height, width = narrowed[i - 1].shape[-2:]
            size = tuple(narrowed[i - 2].shape[-2:]) if i > 1 else (2 * height, 2 * width)
            path = self.get_submodule(f"refinenet{i}")(narrowed[i - 1], path, size)
            paths.append(path)
        x = F.interpolate(self.output_conv["0"](path), scale_factor=2, mode="bilinear", align_corners=True)
        x = F.relu(self.output_conv["4"](F.relu(self.output_conv["2"](x))))
        first, second, third, fourth = layers
        return DepthResult(
            (first, second, third, fourth),
            (narrowed[0], narrowed[1], narrowed[2], narrowed[3]),
            (paths[3], paths[2], paths[1]),
            x,
        )


class Backbone(nn.Module):
    """Holder that gives the backbone its published name."""

    def __init__(self) -> None:
        super().__init__()
        self.model = NextViT()


class DepthNetwork(nn.Module):
    """Inverse depth of a picture. Always in eval mode, as its batch norms must never adapt."""

    def __init__(self) -> None:
        super().__init__()
        self.pretrained = Backbone()
        self.scratch = Scratch()
        self.eval()

    def train(self, mode: bool = True) -> DepthNetwork:
        """Stay in eval mode whatever is asked."""
        return super().train(False)

    def forward(self, image: Tensor) -> DepthResult:
        """Estimate.

        Args:
            image: (B, 3, H, W) in [0, 1], of any size from 17; padded by reflection to multiples of 32.
        """
        return self.scratch(self.pretrained.model(pad_to_multiple(image)))

    def features(self, image: Tensor) -> DepthFeatures:
        """What DMDNet takes, without gradient tracking."""
        with torch.no_grad():
            result = self(image)
        return DepthFeatures(result.layers[:3], result.proximity)


def depth_levels(proximity: Tensor) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Inverse depth (H, W) as 16-bit levels, 0 the farthest and 65535 the nearest in the picture."""
    low, high = proximity.min(), proximity.max()
    share = (proximity - low) / (high - low).clamp(min=1e-12)
    return (share * 65535 + 0.5).to(torch.int32).numpy().astype(np.uint16)


COLOURS = ((13, 8, 60), (70, 30, 135), (160, 50, 125), (230, 95, 75), (252, 175, 65), (252, 250, 190))
"""Far to near: dark violet over red to light yellow, rising in lightness all the way."""


def depth_colours(levels: np.ndarray[Any, np.dtype[np.uint16]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Levels (H, W) as an 8-bit colour picture (H, W, 3)."""
    marks = np.linspace(0, 65535, len(COLOURS))
    table = np.array(COLOURS, dtype=np.float64)
    channels = [np.interp(levels, marks, table[:, i]) for i in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def read_depth_state(path: Path) -> dict[str, Tensor]:
    """Read the official file: a flat state dict, or one under "model" or "state_dict".

    Raises:
        ModelError: the file is of another network; says which was wanted.
        InputError: it cannot be read.
    """
    content: Mapping[str, Any] = read_checkpoint(path)
    for wrapper in ("model", "state_dict"):
        if isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if "pretrained.model.stem.0.conv.weight" not in content or "scratch.layer1_rn.weight" not in content:
        raise ModelError(
            path,
            f"not the depth network that DMDNet needs; "
            f"give the file {FILE_NAME} of the MiDaS v3.1 release ({URL})",
        )
    return {key: value for key, value in content.items() if isinstance(value, Tensor)}


def load_depth_network(path: Path) -> DepthNetwork:
    """The depth network with the weights of the official file, whose keys must fit exactly.

    Raises:
        ModelError: the weights do not fit.
        InputError: the file cannot be read.
    """
    state = read_depth_state(path)
    with torch.device("meta"):
        network = DepthNetwork()
    expected = dict(network.state_dict())
    for key, shape in UNUSED_SHAPES.items():
        expected[key] = torch.empty(shape, device="meta")
    try:
        check_keys(expected, state, str(path))
    except ModelError as error:
        raise ModelError(
            error.subject, f"{error.reason}; give the file {FILE_NAME} of the MiDaS v3.1 release ({URL})"
        ) from error
    used = {key: state[key] for key in network.state_dict()}
    network.load_state_dict(
        {key: value.float() if value.is_floating_point() else value for key, value in used.items()},
        assign=True,
    )
    return network.requires_grad_(False)


def download_depth_weights(sha256: str = "") -> Path:
    """Fetch the official file from the MiDaS release into the cache; only when the user asks for it.

    Args:
        sha256: checksum that the file must have, as 64 hexadecimal digits. The release states none; with ""
            the checksum of what comes first is kept beside it and holds from then on.

    Raises:
        ModelError: no checksum, a failed download, or a file that does not match.
    """
    if sha256 and (len(sha256) != 64 or not set(sha256.lower()) <= set("0123456789abcdef")):
        raise ModelError(sha256, "not a checksum, which has 64 hexadecimal digits", setting="depth_sha256")
    return download(URL, FILE_NAME, f"sha256:{sha256}" if sha256 else "", show_progress())

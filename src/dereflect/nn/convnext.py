"""ConvNeXt (Liu et al., "A ConvNet for the 2020s", CVPR 2022) without its classifying head: plain form.

Module names follow timm's checkpoints of ``convnext_small`` and its relatives.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dereflect.nn.mlp import Mlp
from dereflect.nn.mugi import ChannelNorm

EPS = 1e-6


@dataclass(frozen=True)
class ConvNeXtConfig:
    """Size of a ConvNeXt; the defaults are ConvNeXt-S."""

    depths: tuple[int, ...] = (3, 3, 27, 3)
    """Blocks of each stage."""
    widths: tuple[int, ...] = (96, 192, 384, 768)
    """Channels of each stage; stage k works at 1/4, 1/8, 1/16, ... of the picture's size."""
    layer_scale: float = 1e-6
    """What the scalings of the branches start at."""


class ConvNeXt(nn.Module):
    """Feature map of the last stage, and its norm for pooled features."""

    def __init__(self, config: ConvNeXtConfig) -> None:
        super().__init__()
        widths = config.widths
        self.stem = nn.Sequential(nn.Conv2d(3, widths[0], 4, 4), ChannelNorm(widths[0], EPS))
        self.stages = nn.Sequential()
        before = (None, *widths[:-1])
        for depth, narrow, width in zip(config.depths, before, widths, strict=True):
            self.stages.append(ConvNeXtStage(narrow, width, depth, config.layer_scale))
        self.head = nn.ModuleDict({"norm": ChannelNorm(widths[-1], EPS)})

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, widths[-1], H // 32, W // 32) for four stages."""
        return self.stages(self.stem(image))

    def pooled(self, features: Tensor) -> Tensor:
        """(B, C, h, w) from `forward` to (B, C): averaged over the pixels, then normed."""
        return self.head["norm"](features.mean((2, 3), keepdim=True)).flatten(1)


class ConvNeXtStage(nn.Module):
    """Halving of the size (in all stages but the first) and blocks."""

    def __init__(self, narrow: int | None, width: int, depth: int, layer_scale: float) -> None:
        super().__init__()
        if narrow is not None:
            self.downsample = nn.Sequential(ChannelNorm(narrow, EPS), nn.Conv2d(narrow, width, 2, 2))
        self.blocks = nn.Sequential(*(ConvNeXtBlock(width, layer_scale) for _ in range(depth)))
        self.halves = narrow is not None

    def forward(self, x: Tensor) -> Tensor:
        """(B, narrow, H, W) to (B, width, H / 2, W / 2)."""
        return self.blocks(self.downsample(x) if self.halves else x)


class ConvNeXtBlock(nn.Module):
    """x + gamma * mlp(norm(depthwise 7x7(x)))."""

    def __init__(self, width: int, layer_scale: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), layer_scale))
        self.conv_dw = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, EPS)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        branch = self.mlp(self.norm(self.conv_dw(x).permute(0, 2, 3, 1)))
        return x + (self.gamma * branch).permute(0, 3, 1, 2)

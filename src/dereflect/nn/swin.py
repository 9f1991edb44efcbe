"""Swin Transformer as a backbone: four feature maps of a picture.

Z. Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows" (ICCV 2021), in the
form used for detection: any picture size, and the shift acts even where a single window covers the map.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dereflect.nn.mlp import Mlp
from dereflect.nn.windows import WindowAttention, join_windows, pad_to_windows, split_windows

ACROSS = -100.0
"""Added to the logits of tokens that come from different sides of the map's seam."""


@dataclass(frozen=True)
class SwinConfig:
    """Sizes of a Swin; the defaults are Swin-L."""

    embed: int = 192
    """Channels of the first stage; each next stage has twice as many."""
    depths: tuple[int, ...] = (2, 2, 18, 2)
    """Blocks of the four stages."""
    heads: tuple[int, ...] = (6, 12, 24, 48)
    window: int = 12
    mlp_ratio: int = 4


class PatchEmbed(nn.Module):
    """4x4 patches of a picture to tokens; a picture is first filled up to multiples of 4 by zeros."""

    def __init__(self, channels: int, patch: int = 4) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(3, channels, patch, stride=patch)
        self.norm = nn.LayerNorm(channels)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, H / 4, W / 4, C), rounded up."""
        height, width = image.shape[2:]
        padded = F.pad(image, (0, -width % self.patch, 0, -height % self.patch))
        return self.norm(self.proj(padded).permute(0, 2, 3, 1))


def seam_mask(height: int, width: int, side: int) -> Tensor:
    """Mask of the windows of a map that was rolled by half a window.

    After the roll, a window at the map's end holds tokens of both ends. They must not see each other.

    Args:
        height: of the padded map, a multiple of `side`.
        width: the same.
        side: of a window.

    Returns:
        (windows, side^2, side^2): 0 within a region, `ACROSS` between two.
    """

    def part(length: int) -> Tensor:
        places = torch.arange(length)
        return (places >= length - side).long() + (places >= length - side // 2).long()

    regions = 3 * part(height)[:, None] + part(width)[None, :]
    labels = split_windows(regions[None, :, :, None], side)[..., 0]
    return (labels[:, :, None] != labels[:, None, :]).float() * ACROSS


class SwinBlock(nn.Module):
    """Attention in windows and an MLP, each after a norm and added to its input.

    Args:
        channels: C.
        heads: of the attention.
        side: of a window.
        shifted: whether windows lie half a window further down and right.
        mlp_ratio: hidden channels of the MLP over C.
    """

    def __init__(self, channels: int, heads: int, side: int, shifted: bool, mlp_ratio: int) -> None:
        super().__init__()
        self.side, self.shift = side, side // 2 if shifted else 0
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, side, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, mlp_ratio * channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to the same shape. Padding comes after the norm and is not masked."""
        height, width = x.shape[1:3]
        inner = pad_to_windows(self.norm1(x), self.side)
        rows, columns = inner.shape[1:3]
        mask = None
        if self.shift:
            inner = inner.roll((-self.shift, -self.shift), dims=(1, 2))
            mask = seam_mask(rows, columns, self.side).to(x)
        inner = join_windows(self.attn(split_windows(inner, self.side), mask), self.side, rows, columns)
        if self.shift:
            inner = inner.roll((self.shift, self.shift), dims=(1, 2))
        x = x + inner[:, :height, :width]
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    """Halve a map: four neighbours become one token of twice the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H / 2, W / 2, 2C), rounded up; odd sides get a row or column of zeros."""
        x = pad_to_windows(x, 2)
        # Down first, then right: the published weights expect this order of the four neighbours.
        four = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(four, dim=-1)))


class SwinStage(nn.Module):
    """Blocks of one resolution, every second one shifted, and the way to the next resolution."""

    def __init__(
        self, channels: int, depth: int, heads: int, window: int, mlp_ratio: int, merging: bool
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            SwinBlock(channels, heads, window, shifted=bool(i % 2), mlp_ratio=mlp_ratio) for i in range(depth)
        )
        self.downsample = PatchMerging(channels) if merging else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, W, C) to the result and the next stage's input (the same map where nothing follows)."""
        for block in self.blocks:
            x = block(x)
        return x, x if self.downsample is None else self.downsample(x)


class Swin(nn.Module):
    """Four stages. The norms of outputs 1 to 3 belong to the published weights, but take no part.

    Args:
        config: sizes.
        unused_norms: whether to have those norms, so that the keys are those of the published files.
    """

    def __init__(self, config: SwinConfig, unused_norms: bool = True) -> None:
        super().__init__()
        self.config = config
        widths = [config.embed * 2**i for i in range(len(config.depths))]
        self.patch_embed = PatchEmbed(config.embed)
        self.layers = nn.ModuleList(
            SwinStage(
                width, config.depths[i], config.heads[i], config.window, config.mlp_ratio, i < len(widths) - 1
            )
            for i, width in enumerate(widths)
        )
        if unused_norms:
            for i, width in enumerate(widths[1:], start=1):
                self.add_module(f"norm{i}", nn.LayerNorm(width))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Feature maps of a picture (B, 3, H, W) in [0, 1].

        Returns:
            One (B, embed * 2^i, H / 2^(i+2), W / 2^(i+2)) for each stage, rounded up, before the merging and
            without a final norm.
        """
        x = self.patch_embed(image)
        maps = []
        for stage in self.layers:
            done, x = stage(x)
            maps.append(done.permute(0, 3, 1, 2))
        return tuple(maps)

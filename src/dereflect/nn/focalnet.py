"""FocalNet backbone (Yang, Li, Dai and Gao, "Focal Modulation Networks", NeurIPS 2022): plain form.

A stem and stages of blocks, each of which gathers its surroundings by a chain of depthwise convolutions of
growing size and modulates every pixel with them. Layer scale and post-norm are on, the modulator is divided
by the number of its terms, and there is no layer norm inside the modulation. Pictures are held as
(B, H, W, D). Module names follow the published checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dereflect.nn.mlp import Mlp


@dataclass(frozen=True)
class FocalNetConfig:
    """Size of a FocalNet; the defaults are FocalNet-L with four focal levels and a stem of stride 2."""

    width: int = 192
    """D of the first stage; it doubles at every stage."""
    depths: tuple[int, ...] = (2, 2, 18, 2)
    """Blocks of each stage."""
    focal_levels: int = 4
    """Depthwise convolutions of each modulation; their sides are window, window + 2, ..."""
    focal_window: int = 3
    """Side of the smallest of them in pixels."""
    stem_stride: int = 2
    """Stride of the 7x7 convolution at the start (4 in networks for recognition)."""
    layer_scale: float = 1e-4
    """What the scalings of the branches start at."""
    drop_rate: float = 0.3
    """Stochastic depth of the last block; the rate grows from 0 at the first block, evenly."""

    @property
    def widths(self) -> tuple[int, ...]:
        """D of every stage."""
        return tuple(self.width * 2**stage for stage in range(len(self.depths)))


class FocalNet(nn.Module):
    """Maps of all stages and of the stem, coarser by two from stage to stage."""

    def __init__(self, config: FocalNetConfig) -> None:
        super().__init__()
        self.config = config
        widths, blocks = config.widths, sum(config.depths)
        rates = [config.drop_rate * block / max(blocks - 1, 1) for block in range(blocks)]
        self.patch_embed = PatchEmbedding(3, config.width, 7, config.stem_stride, multiple=4)
        self.layers = nn.ModuleList()
        for stage, (width, depth) in enumerate(zip(widths, config.depths, strict=True)):
            first = sum(config.depths[:stage])
            last = stage == len(config.depths) - 1
            self.layers.append(FocalStage(width, rates[first : first + depth], config, not last))
        for stage, width in enumerate(widths):
            self.add_module(f"norm{stage}", nn.LayerNorm(width))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Compute all maps.

        Args:
            image: (B, 3, H, W), not normalised.

        Returns:
            The stem's map and the normed output of every stage, as (B, D, h, w) each. With a stem of stride 2
            the stem and the first stage have h = 2 ceil(H / 4); each further stage half of it, rounded up.
        """
        x = self.patch_embed(image.permute(0, 2, 3, 1))
        maps = [x]
        for stage, layer in enumerate(self.layers):
            x, smaller = layer(x)
            maps.append(self.get_submodule(f"norm{stage}")(x))
            x = smaller
        return tuple(m.permute(0, 3, 1, 2) for m in maps)


class PatchEmbedding(nn.Module):
    """Convolution with a stride and layer norm; zeros are added right and below up to a multiple first."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, multiple: int) -> None:
        super().__init__()
        self.multiple = multiple
        self.proj = nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, channels) to (B, h, w, width)."""
        height, width = x.shape[1:3]
        x = F.pad(x, (0, 0, 0, -width % self.multiple, 0, -height % self.multiple))
        return self.norm(self.proj(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


class FocalStage(nn.Module):
    """Blocks of one width, and the way down to the next stage if there is one."""

    def __init__(self, width: int, drop_rates: list[float], config: FocalNetConfig, down: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(FocalBlock(width, rate, config) for rate in drop_rates)
        self.downsample = PatchEmbedding(width, 2 * width, 3, 2, multiple=2) if down else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, W, D) to the same shape, and to the next stage's input (at the last stage: the same)."""
        for block in self.blocks:
            x = block(x)
        return x, x if self.downsample is None else self.downsample(x)


class FocalBlock(nn.Module):
    """x + gamma_1 norm1(modulation(x)), then x + gamma_2 norm2(mlp(x)): the norms come after the branches."""

    def __init__(self, width: int, drop_rate: float, config: FocalNetConfig) -> None:
        super().__init__()
        self.gamma_1 = nn.Parameter(torch.full((width,), config.layer_scale))
        self.gamma_2 = nn.Parameter(torch.full((width,), config.layer_scale))
        self.norm1 = nn.LayerNorm(width)
        self.modulation = FocalModulation(width, config.focal_levels, config.focal_window)
        self.drop = StochasticDepth(drop_rate)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, D) to the same shape."""
        x = x + self.drop(self.gamma_1 * self.norm1(self.modulation(x)))
        return x + self.drop(self.gamma_2 * self.norm2(self.mlp(x)))


class FocalModulation(nn.Module):
    """Each pixel's query times what its surroundings, gated level by level, add up to (section 3 there)."""

    def __init__(self, width: int, levels: int, window: int) -> None:
        super().__init__()
        self.width, self.levels = width, levels
        self.f = nn.Linear(width, 2 * width + levels + 1)
        self.h = nn.Conv2d(width, width, 1)
        self.proj = nn.Linear(width, width)
        self.focal_layers = nn.ModuleList()
        for level in range(levels):
            kernel = window + 2 * level
            conv = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width, bias=False)
            self.focal_layers.append(nn.Sequential(conv, nn.GELU()))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, D) to the same shape."""
        query, context, gates = self.f(x).split((self.width, self.width, self.levels + 1), dim=-1)
        context, gates = context.permute(0, 3, 1, 2), gates.permute(0, 3, 1, 2)
        gathered = torch.zeros_like(context)
        for level, layer in enumerate(self.focal_layers):  # chained: each level sees what the last one saw
            context = layer(context)
            gathered = gathered + context * gates[:, level : level + 1]
        overall = F.gelu(context.mean((2, 3), keepdim=True))
        gathered = (gathered + overall * gates[:, self.levels :]) / (self.levels + 1)
        return self.proj(query * self.h(gathered).permute(0, 2, 3, 1))


class StochasticDepth(nn.Module):
    """In training, drops a branch for some pictures and scales it up for the others (Huang et al. 2016).

    Each call draws anew, one number a picture, from torch's global generator.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """(B, ...) to the same shape: 0 with probability `rate`, else divided by 1 - rate."""
        if not self.training or self.rate == 0:
            return branch
        shape = (branch.shape[0],) + (1,) * (branch.dim() - 1)
        return branch * (torch.rand(shape, device=branch.device) >= self.rate).to(branch) / (1 - self.rate)

    def extra_repr(self) -> str:
        """The rate, for `print`."""
        return f"rate={self.rate:.3g}"

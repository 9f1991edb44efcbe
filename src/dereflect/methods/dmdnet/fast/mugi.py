"""Fast form of the MuGI block: band by band, with what both passes share kept and nothing else."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dereflect.nn import fused
from dereflect.nn.bands import Border, Out, depthwise, in_bands
from dereflect.nn.mugi import ChannelNorm, CrossedGate, MuGIBlock

gate = CrossedGate()


class MuGILayers(NamedTuple):
    """The layers of a block by what they do; in the published weights they have numbers only."""

    norm: ChannelNorm
    widen: nn.Conv2d
    mix: nn.Conv2d
    attention: nn.Conv2d
    project: nn.Conv2d
    norm_again: ChannelNorm
    widen_again: nn.Conv2d
    project_again: nn.Conv2d
    scales: tuple[Tensor, Tensor]
    """of the second stage's residuals"""

    @classmethod
    def of(cls, block: MuGIBlock) -> MuGILayers:
        """Take a block apart."""
        stages: Any = block
        first, second = stages.block1, stages.block2
        scales = (block.b, block.b) if block.shared_b else (block.b_l, block.b_r)
        norm, widen, mix = first[0].seq
        attention, project = first[2].seq[0].ca[1], first[3].seq[0]
        norm_again, widen_again = second[0].seq
        project_again = second[2].seq[0]
        return cls(norm, widen, mix, attention, project, norm_again, widen_again, project_again, scales)


def interact(block: MuGIBlock, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both streams (B, C, H, W) through a block; equal to calling it.

    The first pass stops before the channel attention, which needs the means of the whole picture; all that
    follows it acts on single pixels, so the second pass does the rest of both stages.
    """
    return _interact_fused(block, x, y) if fused.usable(x, y) else _interact_banded(block, x, y)


def _interact_banded(block: MuGIBlock, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """By single PyTorch calls, on any device."""
    norm, widen, mix, attention, project, norm_again, widen_again, project_again, scales = MuGILayers.of(
        block
    )
    channels = x.shape[1]

    def before_attention(x: Tensor, y: Tensor, border: Border) -> tuple[Tensor, Tensor]:
        return gate(*(depthwise(mix, widen(norm(stream)), border) for stream in (x, y)))

    u, v = in_bands(before_attention, (x, y), 10 * channels, halo=1)
    scale_u, scale_v = (attention(s.mean(dim=(2, 3), keepdim=True)) for s in (u, v))

    def after_attention(x: Tensor, y: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.addcmul(x, block.a_l, project(u * scale_u))
        y = torch.addcmul(y, block.a_r, project(v * scale_v))
        u, v = gate(widen_again(norm_again(x)), widen_again(norm_again(y)))
        return torch.addcmul(x, scales[0], project_again(u)), torch.addcmul(y, scales[1], project_again(v))

    x, y = in_bands(after_attention, (x, y, u, v), 14 * channels)
    return x, y


def _interact_fused(block: MuGIBlock, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The same, with everything between two products in one pass."""
    norm, widen, mix, attention, project, norm_again, widen_again, project_again, scales = MuGILayers.of(
        block
    )
    channels, pixels = x.shape[1], x.shape[2] * x.shape[3]
    taps = fused.Taps.of(mix)
    sums = []

    def before_attention(x: Tensor, y: Tensor, border: Border, out: Out) -> tuple[Tensor, Tensor]:
        x, y = widen(fused.normed(x, norm)), widen(fused.normed(y, norm))
        u, v, rows = fused.crossed_gate(x, y, taps, border, out)
        sums.append(rows.sum(1))
        return u, v

    specs = [(channels, x.dtype)] * 2
    u, v = in_bands(before_attention, (x, y), 10 * channels, halo=1, out_specs=specs)
    means = torch.stack(sums).sum(0)[..., None, None] / pixels
    scale_u, scale_v = (attention(mean) for mean in means.chunk(2, dim=1))
    one = len(x) == 1  # the channels' scales then go into the weights
    for_u, for_v = ((project.weight * s.float()).to(x.dtype) if one else s for s in (scale_u, scale_v))

    def projected(x: Tensor, scale: Tensor) -> Tensor:
        return F.conv2d(x, scale, project.bias) if one else cast(Tensor, project(x * scale))

    def after_attention(x: Tensor, y: Tensor, u: Tensor, v: Tensor, out: Out) -> tuple[Tensor, Tensor]:
        x, x_normed = fused.add_norm(x, block.a_l, projected(u, for_u), norm_again)
        y, y_normed = fused.add_norm(y, block.a_r, projected(v, for_v), norm_again)
        u, v, _ = fused.crossed_gate(widen_again(x_normed), widen_again(y_normed))
        x, _ = fused.add_norm(x, scales[0], project_again(u), out=out[0])
        y, _ = fused.add_norm(y, scales[1], project_again(v), out=out[1])
        return x, y

    x, y = in_bands(after_attention, (x, y, u, v), 14 * channels, out_specs=specs)
    return x, y

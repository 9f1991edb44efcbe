"""FocalNet, ConvNeXt and NAF blocks by fused products. Pictures are (B, H, W, C) from block to block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dereflect.methods.rdnet.fast.products import (
    depthwise,
    linear,
    linear_plus,
    linear_times,
    mlp,
    norm,
    parts,
)
from dereflect.nn.convnext import ConvNeXt, ConvNeXtBlock, ConvNeXtStage
from dereflect.nn.focalnet import FocalBlock, FocalModulation, FocalNet, FocalStage
from dereflect.nn.mugi import ChannelNorm
from dereflect.nn.naf import NafBlock

CHANNEL_BYTES, CHANNEL_BLOCK = 16 << 20, 64
"""Channels of a map that are gathered at once: as many blocks of so many as fit into so many bytes."""


def focalnet(backbone: FocalNet, image: Tensor) -> Iterator[Tensor]:
    """See `FocalNet.forward`, but the maps are (B, h, w, D), and each holds until the next is asked for."""
    x = backbone.patch_embed(image.permute(0, 2, 3, 1))
    yield x
    for number, stage in enumerate(backbone.layers):
        stage = cast(FocalStage, stage)
        for block in stage.blocks:
            focal_block_(x, cast(FocalBlock, block))
        yield norm(x, cast(nn.LayerNorm, backbone.get_submodule(f"norm{number}")))
        if stage.downsample is not None:
            x = stage.downsample(x)


def focal_block_(x: Tensor, block: FocalBlock) -> Tensor:
    """See `FocalBlock.forward`; in place, and in parts of few rows wherever pixels do not see each other.

    Branches are computed in the dtype of their weights.
    """
    layer, dtype = block.modulation, block.modulation.f.weight.dtype
    gathered = surroundings(x.to(dtype), layer)
    query, bias = layer.f.weight[: layer.width], layer.f.bias[: layer.width]
    mix = layer.h.weight.flatten(1) / (layer.levels + 1)
    for rows, around in zip(parts(x), parts(gathered), strict=True):
        modulated = linear_times(rows.to(dtype), query, bias, linear(around, mix, layer.h.bias))
        branch = linear(modulated, layer.proj.weight, layer.proj.bias)
        rows += norm(branch.to(x.dtype), block.norm1, block.gamma_1)
    del gathered
    for rows in parts(x):
        branch = mlp(rows.to(dtype), block.mlp.fc1, block.mlp.fc2)
        rows += norm(branch.to(x.dtype), block.norm2, block.gamma_2)
    return x


def surroundings(x: Tensor, layer: FocalModulation) -> Tensor:
    """What `FocalModulation` gathers, not yet divided by the number of terms; some channels at a time."""
    width, (weight, bias) = layer.width, (layer.f.weight, layer.f.bias)
    gates = linear(x, weight[2 * width :], bias[2 * width :])
    gathered = torch.empty_like(x)
    pixels = x[..., 0].numel() * x.element_size()
    at_once = max(CHANNEL_BLOCK, CHANNEL_BYTES // pixels // CHANNEL_BLOCK * CHANNEL_BLOCK)
    for start in range(0, width, at_once):
        some = slice(start, min(start + at_once, width))
        context = linear(x, weight[width:][some], bias[width:][some])
        total: Tensor | None = None
        for level, step in enumerate(layer.focal_layers):
            taps = cast(nn.Conv2d, step.get_submodule("0")).weight[some]
            context, gate = depthwise(context, taps, None, "gelu"), gates[..., level : level + 1]
            total = context * gate if total is None else total.addcmul_(context, gate)
        overall = F.gelu(context.mean((1, 2), keepdim=True))
        last = gates[..., -1:]
        gathered[..., some] = overall * last if total is None else total.addcmul_(overall, last)
    return gathered


def convnext(network: ConvNeXt, image: Tensor) -> Tensor:
    """See `ConvNeXt.forward`: (B, 3, H, W) to (B, C, h, w)."""
    x = network.stem(image.contiguous(memory_format=torch.channels_last))
    for stage in network.stages:
        stage = cast(ConvNeXtStage, stage)
        x = (stage.downsample(x) if stage.halves else x).permute(0, 2, 3, 1)
        for block in stage.blocks:
            block = cast(ConvNeXtBlock, block)
            y = norm(depthwise(x, *_both(block.conv_dw)), block.norm)
            x = torch.addcmul(x, block.gamma, mlp(y, block.mlp.fc1, block.mlp.fc2))
        x = x.permute(0, 3, 1, 2)
    return x


def naf_block(x: Tensor, block: NafBlock) -> Tensor:
    """See `NafBlock.forward`: scalings and, for a single picture, the attention are folded into weights."""
    mixed = mixed_channels(x, block)
    attention = F.conv2d(mixed.mean((1, 2))[:, :, None, None], *_both(block.sca.get_submodule("1")))
    out, bias = weights(block.conv3)
    out, bias = block.beta.view(-1, 1) * out, block.beta.flatten() * bias
    if len(x) == 1:
        out = out * attention.view(1, -1)
    else:
        mixed *= attention.flatten(1)[:, None, None]
    x = linear_plus(mixed, out, bias, x)
    half = block.conv5.in_channels
    wide, wide_bias = weights(block.conv4)
    y = channel_norm(x, block.norm2)
    first = linear(y, wide[:half], wide_bias[:half])
    second = linear_times(y, wide[half:], wide_bias[half:], first)
    out, bias = weights(block.conv5)
    return linear_plus(second, block.gamma.view(-1, 1) * out, block.gamma.flatten() * bias, x)


def mixed_channels(x: Tensor, block: NafBlock) -> Tensor:
    """The first branch up to its gate, half by half: what is widened at once stays small."""
    y, half = channel_norm(x, block.norm1), block.conv3.in_channels
    result: Tensor | None = None
    for part in (slice(0, half), slice(half, None)):
        (wide, bias), (taps, tap_bias) = weights(block.conv1), _both(block.conv2)
        found = depthwise(linear(y, wide[part], bias[part]), taps[part], tap_bias[part])
        result = found if result is None else result.mul_(found)
    assert result is not None
    return result


def channel_norm(x: Tensor, layer: ChannelNorm) -> Tensor:
    """A `ChannelNorm` over the last dimension."""
    return F.layer_norm(x, layer.weight.shape, layer.weight, layer.bias, layer.eps)


def weights(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """(O, C) and (O,) of a 1x1 convolution."""
    weight, bias = _both(conv)
    return weight.flatten(1), bias


def _both(conv: nn.Module) -> tuple[Tensor, Tensor]:
    assert isinstance(conv, nn.Conv2d)
    assert conv.bias is not None
    return conv.weight, conv.bias

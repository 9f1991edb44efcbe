"""Fast form of the memory experts: neither stream of an expert is ever formed."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dereflect.methods.dmdnet.fast import mixing
from dereflect.methods.dmdnet.memory import MECM, MemoryModule, global_scale, two_largest
from dereflect.nn import fused
from dereflect.nn.bands import Border, depthwise, in_bands

PIXELS_AT_ONCE = 1 << 16
"""Bounds the (pixels, slots) table of similarities."""


def compensation(module: MECM, x: Tensor, memory: Tensor) -> Tensor:
    """What the module returns for (B, C, H, W) features and a bank (experts, slots, C)."""
    return _in_few_passes(module, x, memory) if fused.usable(x) else _in_bands(module, x, memory)


def _in_bands(module: MECM, x: Tensor, memory: Tensor) -> Tensor:
    gate, out = module.gate(x), torch.zeros_like(x)
    for j, ran in enumerate(module.chosen(gate).unbind(1)):
        out = _with_answer(out, module.experts[j], x, memory[j], gate[:, j], ran)
    return out


def _in_few_passes(module: MECM, x: Tensor, memory: Tensor) -> Tensor:
    mean, top = fused.pooled(x)
    gate, out = module.gate.coefficients(mean + top), torch.zeros_like(x)
    for j, ran in enumerate(module.chosen(gate).unbind(1)):
        if ran.all():
            _add_answer_(out, module.experts[j], x, mean, memory[j], gate[:, j])
        else:
            out = _with_answer(out, module.experts[j], x, memory[j], gate[:, j], ran)
    return out


def _with_answer(
    out: Tensor, expert: MemoryModule, x: Tensor, slots: Tensor, coefficient: Tensor, ran: Tensor
) -> Tensor:
    """out + coefficient * the answer of an expert, for the pictures on which it ran; both are (B,)."""
    coefficient = coefficient[:, None, None, None]
    if ran.all():
        return torch.addcmul(out, coefficient, answer(expert, x, slots))
    rows = ran.nonzero()[:, 0]
    return out.index_add(0, rows, coefficient[rows] * answer(expert, x[rows], slots)) if len(rows) else out


def answer(expert: MemoryModule, x: Tensor, memory: Tensor) -> Tensor:
    """`MemoryModule.forward`.

    The 1x1 fusion of the two streams is linear: the global one scales the columns of its half of the weights,
    and the spatial one mixes slots that have been through the other half already.
    """
    channels = x.shape[1]
    conv, mix = cast(nn.Conv2d, expert.fusion[0]), cast(nn.Conv2d, expert.depth_conv[0])
    from_global, from_spatial = conv.weight.flatten(1).split(channels, dim=1)
    scale = global_scale(x.mean(dim=(2, 3)), memory)
    scaled = (from_global[None] * scale[:, None]).transpose(1, 2)  # (B, C, C)
    projected_slots = memory @ from_spatial.t().to(memory.dtype)

    def fuse(x: Tensor) -> Tensor:
        tokens = x.permute(0, 2, 3, 1).flatten(1, 2)  # (B, hW, C)
        mixed = spatial_mix(tokens, memory, projected_slots)
        joined = torch.baddbmm(mixed, tokens, scaled.to(tokens.dtype))
        joined = F.leaky_relu(joined + cast(Tensor, conv.bias).to(joined.dtype), 0.2)
        return joined.view(x.shape[0], *x.shape[2:], channels).permute(0, 3, 1, 2)

    def spread(joined: Tensor, border: Border) -> Tensor:
        return F.leaky_relu(depthwise(mix, joined, border), 0.2)

    joined = in_bands(fuse, (x,), 4 * channels + 2 * memory.shape[0])
    return in_bands(spread, joined, 4 * channels, halo=mix.dilation[0])[0]


def _add_answer_(
    out: Tensor, expert: MemoryModule, x: Tensor, query: Tensor, memory: Tensor, coefficient: Tensor
) -> None:
    """out += coefficient * answer(expert, x, memory), in bfloat16; query (B, C) is the mean of x."""
    batch, channels, _, width = x.shape
    conv, mix = cast(nn.Conv2d, expert.fusion[0]), cast(nn.Conv2d, expert.depth_conv[0])
    from_global, from_spatial = conv.weight.flatten(1).split(channels, dim=1)
    scale = global_scale(query, memory)
    scaled = (from_global[None] * scale[:, None]).transpose(1, 2).to(x.dtype)  # (B, C, C)
    values, bias = memory.float() @ from_spatial.t().float(), cast(Tensor, conv.bias)
    keys = memory.t().to(x.dtype)

    def fuse(x: Tensor) -> Tensor:
        tokens = x.permute(0, 2, 3, 1).flatten(1, 2)  # (B, hW, C)
        scores, projected = tokens @ keys, tokens @ scaled
        mixing.mix_slots_(projected.flatten(0, 1), scores.flatten(0, 1), values, bias)
        return projected.view(batch, -1, width, channels).permute(0, 3, 1, 2)

    (mixed,) = in_bands(fuse, (x,), 4 * channels + 2 * memory.shape[0])
    fused.add_leaky_(out, mixed, fused.Taps.of(mix), mix.dilation[0], coefficient)


def spatial_mix(tokens: Tensor, memory: Tensor, values: Tensor) -> Tensor:
    """For each pixel, the values of its two most similar slots, mixed by softmax of the two similarities.

    Args:
        tokens: (B, L, C) features.
        memory: (slots, C) what similarity is measured with.
        values: (slots, V) what is mixed; a linear map of the memory.

    Returns:
        (B, L, V).
    """
    pieces = []
    for part in tokens.flatten(0, 1).split(PIXELS_AT_ONCE):
        similarity, slots = two_largest(part @ memory.t().to(part.dtype))
        weights = torch.softmax(similarity, dim=1).to(values.dtype)
        mixed = torch.addcmul(weights[:, :1] * values[slots[:, 0]], weights[:, 1:], values[slots[:, 1]])
        pieces.append(mixed.to(tokens.dtype))
    whole = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
    return whole.view(*tokens.shape[:2], values.shape[1])

"""Swin on one picture without gradients: fused attention, in bands, results as of the plain network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch.nn.functional as F
from torch import Tensor

from dereflect.nn.attention_in_place import from_windows, mix, queries, rows_of_windows, to_windows
from dereflect.nn.convolution import product
from dereflect.nn.swin import Swin, SwinBlock, SwinStage, seam_mask


def feature_maps(swin: Swin, image: Tensor) -> Iterator[Tensor]:
    """The maps of `Swin.forward` for a single picture, one after the other, channels last.

    Args:
        swin: the network.
        image: (1, 3, H, W).

    Yields:
        (1, C, h, w); the caller may change it.
    """
    x = swin.patch_embed(image)
    for layer in swin.layers:
        stage = cast(SwinStage, layer)
        for block in stage.blocks:
            x = _block_(cast(SwinBlock, block), x)
        following = None if stage.downsample is None else stage.downsample(x)
        yield x.permute(0, 3, 1, 2)
        if following is not None:
            x = following


def _block_(block: SwinBlock, x: Tensor) -> Tensor:
    """(1, H, W, C) in place."""
    height, width, channels = x.shape[1:]
    x += product(_attended(block, x), block.attn.proj.weight, block.attn.proj.bias)
    rows_at_once = block.side * rows_of_windows(width, block.side, 10 * channels, x)
    for top in range(0, height, rows_at_once):
        band = x[:, top : top + rows_at_once]
        mlp = block.mlp
        hidden = F.gelu(product(block.norm2(band), mlp.fc1.weight, mlp.fc1.bias))
        band += product(hidden, mlp.fc2.weight, mlp.fc2.bias)
    return x


def _attended(block: SwinBlock, x: Tensor) -> Tensor:
    """What the block's attention mixes, before its last product; (1, H, W, C)."""
    height, width, channels = x.shape[1:]
    side, shift, layer = block.side, block.shift, block.attn
    qkv, mask = queries(layer, block.norm1(x)), None
    rows, columns = qkv.shape[1:3]
    if shift:
        qkv = qkv.roll((-shift, -shift), dims=(1, 2))
        mask = seam_mask(rows, columns, side).to(x)[:, None]
    bias = layer.bias()[None]
    mixed = x.new_empty(1, rows, columns, channels)
    step = side * rows_of_windows(columns, side, 6 * channels, x)
    for top in range(0, rows, step):
        tokens = to_windows(qkv[:, top : top + step], side)[:, 0]
        first = top // side * (columns // side)
        logits = bias if mask is None else bias + mask[first : first + len(tokens)]
        band = mixed[:, top : top + step]
        band.copy_(from_windows(mix(layer, tokens, logits)[:, None], side, band.shape[1], columns))
    if shift:
        mixed = mixed.roll((shift, shift), dims=(1, 2))
    return mixed[:, :height, :width].contiguous()

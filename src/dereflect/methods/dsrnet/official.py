"""DSRNet's checkpoints, told by their keys: the toolbox's Lightning file, the authors', a bare state dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from dereflect.errors import ModelError
from dereflect.methods.checkpoints import StateDict, beside_network, count
from dereflect.methods.dsrnet.config import DSRNetConfig
from dereflect.methods.dsrnet.network import DSRNet
from dereflect.nn.vgg import vgg19_state
from dereflect.weights import check_keys

MARKS = ("intro.block_intro.0.seq.0.weight", "ending.seq.0.weight")
"""Keys that every DSRNet has, and no other method."""
FIRST, SECOND = ".seq_l.", ".seq_r."
"""The residual module's layers have two names each; the second is left out in our files."""
FEATURES = "vgg.vgg_pretrained_"
"""Prefix of the VGG-19 whose features the network sees, in the toolbox's file."""


def config_of(state: Mapping[str, torch.Tensor], source: str) -> DSRNetConfig:
    """The configuration that a state fits, read from its keys and shapes.

    Raises:
        ModelError: what tells the configuration is missing; names the first five missing and unexpected keys.
    """
    levels = count(state, r"encoders\.(\d+)\..*")
    try:
        return DSRNetConfig(
            width=int(state[MARKS[1]].shape[1]),
            encoder_blocks=_blocks(state, "encoders", levels),
            middle_blocks=count(state, r"middle_blks\.(\d+)\..*"),
            decoder_blocks=_blocks(state, "decoders", levels),
            residual_blocks=(
                count(state, r"lrm\.blocks_inter\.(\d+)\..*"),
                count(state, r"lrm\.blocks_merge\.(\d+)\..*"),
            ),
            shared_b="intro.block5.0.b" in state,
        )
    except ModelError as error:
        with torch.device("meta"):
            expected = DSRNet(DSRNetConfig()).state_dict()
        check_keys(expected, state, f"{source}: DSRNet")
        raise ModelError(source, f"fits no DSRNet ({error})") from error


def _blocks(state: Mapping[str, Any], name: str, levels: int) -> tuple[int, ...]:
    return tuple(count(state, rf"{name}\.{level}\.(\d+)\..*") for level in range(levels))


def features_of(checkpoint: Mapping[str, Any]) -> StateDict:
    """The VGG-19 that a toolbox's file brings along; empty if it has none."""
    found = {
        f"features.{key}": value for key, value in beside_network(checkpoint, FEATURES + "features.").items()
    }
    return vgg19_state(found)


def without_second_names(state: Mapping[str, torch.Tensor]) -> StateDict:
    """The state with one name a tensor. Where two of a pair differ, the second holds, as in the original."""
    found = {key: value for key, value in state.items() if SECOND not in key}
    for key, value in state.items():
        if SECOND in key and (first := key.replace(SECOND, FIRST)) in found:
            found[first] = value
    return found


def load_into(network: DSRNet, state: Mapping[str, torch.Tensor], source: str) -> None:
    """Give a network, which may be on the meta device, the tensors of a state without copying them.

    Raises:
        ModelError: keys or shapes differ; names the first five of each kind.
    """
    single = without_second_names(state)
    full = single | {key.replace(FIRST, SECOND): value for key, value in single.items() if FIRST in key}
    strange = {key: value for key, value in state.items() if key not in full}
    check_keys(network.state_dict(), full | strange, source)
    network.load_state_dict({key: value.float() for key, value in full.items()}, assign=True)

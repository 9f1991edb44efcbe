"""The authors' checkpoints: which layout and which network a file holds, told by its keys and shapes alone.

Three kinds of file are known. The toolbox's Lightning file: ``state_dict`` with the network under ``net_g.``,
the classifier inside, and the VGG-19 of the loss beside it. The older file: ``icnn`` with three decoders, of
which one is used, without classifier, and trained with the two layers the other way round. Its classifier:
``icnn`` with ``model.`` and ``head.`` keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dereflect.errors import ModelError
from dereflect.methods import checkpoints
from dereflect.methods.checkpoints import StateDict, count, unwrapped
from dereflect.methods.rdnet.config import Order, Prompt, RDNetConfig
from dereflect.methods.rdnet.network import RDNet
from dereflect.weights import check_keys

PLACES = ("model_ema", "state_dict", "params", "icnn", None)
"""Where the network's tensors may lie; averaged ones, with which the toolbox validates, come first."""
MARKS = ("subnet0.alpha0", "baseball.patch_embed.proj.weight")
"""Keys that every RDNet has; either tells the family."""
CLASSIFIER_MARKS = ("model.stem.0.weight", "model.head.norm.weight", "head.weight")
NEW_MARK, OLD_MARK = "decoder_blocks.normal_layers.", "decoder_blocks.2."
UNUSED = re.compile(r"stem_comp\..*|decoder_blocks\.[01]\..*")
"""Tensors of the older network that never reach its output."""
ENDS = {
    re.compile(r"decoder_blocks\.projback(_|_shit)\.0\."): "decoder_blocks.projback_shit.0.",
    re.compile(r"decoder_blocks\.projback(_2|__2|_shit_2)\.0\."): "decoder_blocks.projback_shit_2.0.",
}
"""Names that the decoder's last convolutions have had."""


def network_state(checkpoint: Mapping[str, Any]) -> StateDict:
    """The network's tensors under plain names, in whichever layout; empty for any other file."""
    return checkpoints.network_state(checkpoint, MARKS, PLACES, any)


def is_old(state: Mapping[str, Tensor], source: str) -> bool:
    """Whether a network's state has the older layout.

    Raises:
        ModelError: keys of both layouts.
    """
    old, new = (any(key.startswith(mark) for key in state) for mark in (OLD_MARK, NEW_MARK))
    if old and new:
        raise ModelError(
            source,
            f"mixes the two RDNet layouts (keys '{OLD_MARK}...' of the older one and "
            f"'{NEW_MARK}...' of the toolbox); give one file as it was published",
        )
    return old


def modern_state(state: Mapping[str, Tensor], classifier: Mapping[str, Tensor]) -> StateDict:
    """The older layout under the toolbox's names: unused tensors dropped, the classifier put in.

    The names hide that the two paths of the decoder were trained the other way round:
    `RDNetConfig.order` must say so.
    """
    result: StateDict = {}
    for key, value in state.items():
        if UNUSED.fullmatch(key):
            continue
        name = key.replace(OLD_MARK, "decoder_blocks.", 1) if key.startswith(OLD_MARK) else key
        for pattern, end in ENDS.items():
            name = pattern.sub(end, name)
        result[name] = value
    return result | {f"classifier.{key}": value for key, value in classifier.items()}


def is_classifier(checkpoint: Mapping[str, Any]) -> bool:
    """Whether this is the classifier's own file."""
    return any(
        isinstance(found, Mapping) and unwrapped(found).keys() >= set(CLASSIFIER_MARKS)
        for found in (checkpoint.get("icnn"), checkpoint)
    )


def classifier_state(checkpoint: Mapping[str, Any], source: str) -> StateDict:
    """The tensors of the classifier's own file.

    Raises:
        ModelError: no such file.
    """
    for found in (checkpoint.get("icnn"), checkpoint):
        if isinstance(found, Mapping) and CLASSIFIER_MARKS[0] in (state := unwrapped(found)):
            return state
    keys = ", ".join(list(checkpoint)[:5])
    raise ModelError(source, f"not RDNet's classifier, cls_model.pth (its first keys: {keys})")


def config_of(state: Mapping[str, Tensor], order: Order, source: str) -> RDNetConfig:
    """The configuration that a state under the toolbox's names fits, read from its keys and shapes.

    Raises:
        ModelError: what tells the configuration is missing; names the first five missing and unexpected keys.
    """
    default = RDNetConfig()
    try:
        first = state.get("prompt.0.weight")
        prompt: Prompt = "none" if first is None else "map" if first.dim() == 4 else "numbers"
        config = replace(
            default,
            prompt=prompt,
            order=order,
            channels=tuple(state[f"subnet0.alpha{level}"].shape[1] for level in range(4)),
            blocks=tuple(count(state, rf"subnet0\.level{level}\.blocks\.(\d+)\..*") for level in range(4)),
            columns=count(state, r"subnet(\d+)\..*"),
            backbone_width=state["baseball.patch_embed.proj.weight"].shape[0],
            backbone_depths=_stages(state, r"baseball\.layers\.{}\.blocks\.(\d+)\..*"),
        )
        if first is None:
            return config
        return replace(
            config,
            prompt_width=first.shape[0],
            classifier_widths=tuple(
                state[f"classifier.model.stages.{stage}.blocks.0.gamma"].shape[0] for stage in range(4)
            ),
            classifier_depths=_stages(state, r"classifier\.model\.stages\.{}\.blocks\.(\d+)\..*"),
        )
    except (KeyError, IndexError, ModelError):
        with torch.device("meta"):
            expected = RDNet(default).state_dict()
        check_keys(expected, state, f"{source}: RDNet")
        raise


def _stages(state: Mapping[str, Tensor], pattern: str) -> tuple[int, ...]:
    return tuple(count(state, pattern.format(stage)) for stage in range(4))

"""Networks inside the checkpoints of other people's trainers: under which name, behind which prefix."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

StateDict = dict[str, Tensor]

PLACES = ("state_dict", "params", "weights", "weight", None, "params_ema", "model_ema")
"""Where trainers keep a network's tensors; None is the top of the file. Weights as trained come before their
averages.
"""
LIGHTNING = "net_g."
"""Prefix of the network in the Lightning files of the toolbox XReflection; its losses lie beside."""
WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes of several devices and of compilation, around a network or around all that is trained."""


def network_state(
    checkpoint: Mapping[str, Any],
    marks: Sequence[str],
    places: Sequence[str | None] = PLACES,
    enough: Callable[[Iterable[bool]], bool] = all,
) -> StateDict:
    """The tensors of a network under its own names.

    Args:
        checkpoint: a file's content.
        marks: names that the network has; they tell it from others.
        places: where to look, in this order.
        enough: `all` if every mark must be there, `any` if one tells.

    Returns:
        An empty dictionary if the file holds no such network.
    """
    for place in places:
        found = checkpoint if place is None else checkpoint.get(place)
        if isinstance(found, Mapping):
            state = unwrapped(found)
            if enough(mark in state for mark in marks):
                return state
    return {}


def unwrapped(found: Mapping[str, Any]) -> StateDict:
    """Tensors under their plain names; of a Lightning module, those of the network alone."""
    tensors = {_plain(key): value for key, value in found.items() if isinstance(value, Tensor)}
    if any(key.startswith(LIGHTNING) for key in tensors):
        tensors = {
            _plain(key.removeprefix(LIGHTNING)): value
            for key, value in tensors.items()
            if key.startswith(LIGHTNING)
        }
    return tensors


def beside_network(checkpoint: Mapping[str, Any], prefix: str) -> StateDict:
    """Tensors that a Lightning file holds beside its network, e.g. of a loss, without `prefix`."""
    found = checkpoint.get("state_dict")
    if not isinstance(found, Mapping):
        return {}
    tensors = {_plain(key): value for key, value in found.items() if isinstance(value, Tensor)}
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def count(state: Mapping[str, Any], pattern: str) -> int:
    """How many different values the group of a regular expression has among the keys that it fits."""
    compiled = re.compile(pattern)
    return len({match[1] for key in state if (match := compiled.fullmatch(key))})


def _plain(key: str) -> str:
    while wrapper := next((prefix for prefix in WRAPPERS if key.startswith(prefix)), None):
        key = key.removeprefix(wrapper)
    return key

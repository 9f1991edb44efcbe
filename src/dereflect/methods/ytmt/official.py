"""The authors' checkpoints: which network a file holds, told by its keys and shapes alone.

A file is a dictionary with ``icnn`` (network of stage one) and, in two-stage files, ``icnn2``; training
files add optimizers and a discriminator, which are not needed here. Bare state dicts of one network are
taken too.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dereflect.errors import ModelError
from dereflect.methods.checkpoints import StateDict, unwrapped
from dereflect.methods.ytmt.config import NAMED, YtmtConfig
from dereflect.methods.ytmt.two_stage import build_network
from dereflect.nn.vgg import LEVEL_CHANNELS
from dereflect.weights import check_keys

FIRST_CONVOLUTIONS = {
    "old": "inc_1.model.0.weight",
    "U": "inc.conv_l.model.0.weight",
    "P": "conv1.conv_l.model.0.weight",
}
"""Each network shape's first convolution: its name tells the shape, its sizes the channels."""
DEAD = re.compile(r"inc_[12]\.fusion\.(weight|bias)")
"""Tensors of the old network that never reach its output."""

_log = logging.getLogger(__name__)


def network_states(checkpoint: Mapping[str, Any]) -> list[StateDict]:
    """The state dicts of stage one and, where there is one, of stage two; empty for any other file."""
    if isinstance(checkpoint.get("icnn"), Mapping):
        found = [checkpoint["icnn"]]
        if isinstance(checkpoint.get("icnn2"), Mapping):
            found.append(checkpoint["icnn2"])
        return [unwrapped(state) for state in found]
    bare = unwrapped(checkpoint)
    return [bare] if any(name in bare for name in FIRST_CONVOLUTIONS.values()) else []


def config_of(states: list[StateDict], source: Path | str, exchange: str | None = None) -> YtmtConfig:
    """The configuration that fits the state dicts.

    Args:
        exchange: letter of the head, needed where keys do not tell: P has the keys of C, and N those of A.

    Raises:
        ModelError: the keys fit no variant; names what is missing and unexpected against the nearest one.
    """
    state = states[0]
    shape = next((shape for shape, key in FIRST_CONVOLUTIONS.items() if key in state), None)
    if shape is None:
        _refuse(state, source)
    first = state[FIRST_CONVOLUTIONS[str(shape)]]
    mixing = shape == "old" or any(".fusion_l." in key for key in state)
    if exchange is not None and (exchange in ("C", "P")) != mixing:
        raise ModelError(
            source, f"exchange={exchange} does not fit its keys; it is {'C or P' if mixing else 'A or N'}"
        )
    image_channels = int(first.shape[1])
    hypercolumn = image_channels == 3 + sum(LEVEL_CHANNELS)
    middle = {int(match[1]) for key in state if (match := re.match(r"convs\.(\d+)\.", key))}
    return YtmtConfig(
        shape=shape,  # type: ignore[arg-type]  # the keys of FIRST_CONVOLUTIONS
        exchange=exchange or ("C" if mixing else "A"),
        stages=len(states),
        hypercolumn=hypercolumn,
        image_channels=3 if hypercolumn else image_channels,
        width=int(first.shape[0]),
        layers=len(middle) + 2 if shape == "P" else 10,
    )


def system_state(states: list[StateDict], config: YtmtConfig, source: Path | str) -> StateDict:
    """The state of a `YtmtSystem` without its VGG: dead tensors are dropped, with a note.

    Raises:
        ModelError: keys or shapes differ from the network's; names the first five of each kind.
    """
    expected = build_network(config).state_dict()
    result: StateDict = {}
    for number, state in enumerate(states, start=1):
        live = {key: value for key, value in state.items() if not DEAD.fullmatch(key)}
        if len(live) < len(state):
            _log.warning(
                "%s: left out %d tensors that never reach the output", source, len(state) - len(live)
            )
        check_keys(expected, live, f"{source}, stage {number}")
        result |= {f"stage{number}.{key}": value.float() for key, value in live.items()}
    return result


def _refuse(state: StateDict, source: Path | str) -> None:
    single = [config for config in NAMED.values() if config.stages == 1]
    expected = [build_network(config).state_dict() for config in single]
    nearest = max(expected, key=lambda keys: len(keys.keys() & state.keys()))
    check_keys(nearest, state, f"{source}: fits no YTMT network (nearest compared)")

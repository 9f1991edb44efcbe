"""DSIT's checkpoints, told by their keys: the toolbox's Lightning file, the authors', a bare state dict."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from dereflect.errors import ModelError
from dereflect.methods.checkpoints import StateDict, count
from dereflect.methods.dsit.config import DSITConfig
from dereflect.methods.dsit.network import DSIT
from dereflect.nn.windows import WindowAttention, position_index
from dereflect.weights import check_keys

MARKS = ("swin_prior.patch_embed.proj.weight", "conv_prior.stem.seq.0.weight")
"""Keys that every DSIT has, and no other method."""
INDEX = "relative_position_index"
"""Buffers that follow from the windows; files may have them or not."""
LEVELS = ("lib4", "lib3", "lib2", "lib1", "lib0")


def config_of(state: Mapping[str, torch.Tensor], source: str) -> DSITConfig:
    """The configuration that a state fits, read from its keys and shapes.

    Raises:
        ModelError: what tells the configuration is missing; names the first five missing and unexpected keys.
    """
    tables = {
        level: state.get(f"{level}.0.dsia_sa.relative_position_bias_table") for level in ("aib4", *LEVELS)
    }
    swin = [
        state.get(f"swin_prior.layers.{stage}.blocks.0.attn.relative_position_bias_table")
        for stage in range(4)
    ]
    try:
        windows = {level: _window(table) for level, table in tables.items()}
        largest = max(windows.values())
        shrunk = windows["lib4"] < largest
        return DSITConfig(
            width=int(state[MARKS[1]].shape[0]),
            swin_depths=tuple(
                count(state, rf"swin_prior\.layers\.{stage}\.blocks\.(\d+)\..*") for stage in range(4)
            ),
            swin_heads=tuple(_heads(table) for table in swin),
            swin_window=_window(swin[0]),
            heads=tuple(_heads(tables[level]) for level in LEVELS),  # type: ignore[arg-type]
            window=largest,
            resolution=16 * windows["lib4"] if shrunk else max(384, 32 * largest),
            attention_blocks=tuple(count(state, rf"{level}\.(\d+)\.dsia_sa\..*") for level in LEVELS),  # type: ignore[arg-type]
            gated_blocks=tuple(count(state, rf"{level}\.(\d+)\.a_l") for level in LEVELS),  # type: ignore[arg-type]
        )
    except (LookupError, ModelError) as error:
        with torch.device("meta"):
            expected = DSIT(DSITConfig()).state_dict()
        check_keys(expected, state, f"{source}: DSIT")
        raise ModelError(source, f"fits no DSIT ({error})") from error


def _window(table: torch.Tensor | None) -> int:
    if table is None:
        raise LookupError("a bias table is missing")
    return (math.isqrt(table.shape[0]) + 1) // 2


def _heads(table: torch.Tensor | None) -> int:
    if table is None:
        raise LookupError("a bias table is missing")
    return int(table.shape[1])


def load_into(network: DSIT, state: StateDict, source: str) -> None:
    """Give a network, which may be on the meta device, the tensors of a state without copying them.

    Raises:
        ModelError: keys or shapes differ; names the first five of each kind.
    """
    for module in network.modules():
        if isinstance(module, WindowAttention):
            layers = 2 if module.relative_position_index.shape[0] > module.side**2 else 1
            module.relative_position_index = position_index(module.side, layers)
    own = network.state_dict()
    known = {key: value for key, value in own.items() if key.endswith(INDEX)}
    given = {key: value for key, value in state.items() if not key.endswith(INDEX)}
    strange = {key: value for key, value in state.items() if key.endswith(INDEX) and key not in known}
    check_keys(own, given | known | strange, source)
    network.load_state_dict({key: value.float() for key, value in given.items()} | known, assign=True)
    network.swin_prior.requires_grad_(False)

"""The authors' files: a network checkpoint, a file of memory banks, and the depth network of MiDaS."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dereflect.errors import ModelError
from dereflect.methods.checkpoints import count, unwrapped
from dereflect.methods.dmdnet.config import DMDNetConfig, bank_channels
from dereflect.weights import read_checkpoint

MARK = "DMBlock_DSBranch_level5.blocks.0.DSMamba.A_logs_ch_T"
"""A key that no other network has."""

BANK_MARK = "memory_level1_T"


def network_state(checkpoint: Mapping[str, Any]) -> dict[str, Tensor] | None:
    """The network's tensors in a checkpoint; None if it is foreign.

    They lie flat or under "network", from one device or several.
    """
    content = checkpoint.get("network", checkpoint)
    state = unwrapped(content) if isinstance(content, Mapping) else {}
    return state if MARK in state else None


def is_banks(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a file holds memory banks alone."""
    return BANK_MARK in checkpoint and network_state(checkpoint) is None


def read_banks(path: Path, config: DMDNetConfig) -> dict[str, Tensor]:
    """Read a banks file, whose entries are lists of one tensor an expert, or tensors of all.

    Raises:
        ModelError: banks are missing, unknown or of another network; names the first.
        InputError: the file cannot be read.
    """
    content = read_checkpoint(path)
    if BANK_MARK not in content:
        raise ModelError(
            path, f"not a memory banks file (it has no '{BANK_MARK}'); DMDNet's is memory_banks_latest.pt"
        )
    banks = {}
    for name, channels in bank_channels(config).items():
        wanted = (config.experts, channels, channels)
        if name not in content:
            raise ModelError(path, f"memory bank '{name}' is missing; the file is cut or of another version")
        entry = content[name]
        bank = torch.stack(list(entry)) if isinstance(entry, (list, tuple)) else entry
        if tuple(bank.shape) != wanted:
            raise ModelError(
                path,
                f"bank '{name}' is {tuple(bank.shape)}, but this network needs {wanted}; "
                "network and banks must come from the same training",
            )
        banks[name] = bank.float()
    if unknown := sorted(set(content) - set(banks)):
        raise ModelError(path, f"unknown memory bank '{unknown[0]}'; the file is of another network")
    return banks


def config_of(state: Mapping[str, Tensor], source: str) -> DMDNetConfig:
    """The shape of the network that a state dict belongs to.

    Raises:
        ModelError: a tensor that tells it is missing.
    """
    try:
        dims = [state["Encoding_Branch.stem.seq.0.weight"].shape[0]]
        dims += [state[f"conv_level{level}_d.0.weight"].shape[0] for level in range(1, 5)]
        states = state[MARK].shape[1]
        experts = state["DMBlock_level1.blocks.0.MECM.gate.fc0.bias"].shape[0]
    except KeyError as error:
        raise ModelError(source, f"'{error.args[0]}' is missing, so this is not a whole DMDNet") from error
    decoder = [count(state, rf"DMBlock_level{level}\.blocks\.(\d+)\..*") for level in range(1, 6)]
    mugi = [count(state, rf"MuGIBlock_level{level}\.(\d+)\..*") for level in range(1, 5)]
    return DMDNetConfig(
        dims=(dims[0], dims[1], dims[2], dims[3], dims[4]),
        decoder_blocks=tuple(decoder),  # type: ignore[arg-type]
        mugi_blocks=tuple(mugi),  # type: ignore[arg-type]
        last_mugi_blocks=count(state, r"MuGIBlock_last\.(\d+)\..*"),
        experts=experts,
        states=states,
    )

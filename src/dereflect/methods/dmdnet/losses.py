"""Losses of DMDNet's memory modules, gathered over the whole network (section "Loss functions" of the paper).

Memory modules come in three groups: the decoder's five levels, and the first and the second call of the depth
semantic branch at the levels 3 to 5, each with a slot for the semantics and one for the encoder's features.
The first call serves the transmission, the second the reflection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dereflect.methods.dmdnet.memory import MemoryTrace


@dataclass(frozen=True)
class MemoryLosses:
    """Scalars of both layers."""

    align_T: Tensor  # noqa: N815 - T and R are the layers' names
    align_R: Tensor  # noqa: N815
    triplet_T: Tensor  # noqa: N815
    triplet_R: Tensor  # noqa: N815
    balance_T: Tensor  # noqa: N815
    balance_R: Tensor  # noqa: N815


def banks_of_layer(layer: str) -> tuple[list[str], list[str], list[str]]:
    """Banks that concern a layer ("T" or "R"): decoder, semantic slots, feature slots; coarse to fine."""
    return (
        [f"memory_level{level}_{layer}" for level in (5, 4, 3, 2, 1)],
        [f"memory_DS{level}_{layer}1" for level in (5, 4, 3)],
        [f"memory_DS{level}_{layer}2" for level in (5, 4, 3)],
    )


def memory_losses_of(traces: Sequence[MemoryTrace]) -> MemoryLosses:
    """Average what the memory modules report: over the levels of a group, then over the three groups."""
    by_bank = {trace.bank: trace for trace in traces}
    align: dict[str, Tensor] = {}
    triplet: dict[str, Tensor] = {}
    balance: dict[str, Tensor] = {}
    for layer in "TR":
        groups = banks_of_layer(layer)
        align[layer] = _mean_of_means(groups, {name: trace.align for name, trace in by_bank.items()})
        triplet[layer] = _mean_of_means(groups, {name: trace.triplet for name, trace in by_bank.items()})
        balance[layer] = balance_loss([by_bank[name].gate for group in groups for name in group])
    return MemoryLosses(align["T"], align["R"], triplet["T"], triplet["R"], balance["T"], balance["R"])


def balance_loss(gates: Sequence[Tensor]) -> Tensor:
    """Squared coefficient of variation of the gate over the experts, averaged over pictures and modules.

    Args:
        gates: (B, experts) coefficients of each module.
    """
    every = torch.stack(list(gates))
    variation = every.std(dim=-1) / (every.mean(dim=-1) + 1e-6)
    return variation.square().mean(dim=-1).mean()


def _mean_of_means(groups: Sequence[Sequence[str]], values: Mapping[str, Tensor]) -> Tensor:
    return torch.stack([torch.stack([values[name] for name in group]).mean() for group in groups]).mean()

"""Which parameters are trained, and how fast: the backbone at its own rate, the classifier not at all."""

from __future__ import annotations

from typing import Any

import torch

from dereflect.methods.rdnet.network import RDNet
from dereflect.methods.rdnet.settings import Optimiser


def build_optimizer(network: RDNet, choices: Optimiser) -> torch.optim.Optimizer:
    """The optimizer of a recipe over `parameter_groups`."""
    kind = torch.optim.AdamW if choices.kind == "adamw" else torch.optim.Adam
    return kind(
        parameter_groups(network, choices.backbone_rate, choices.learning_rate),
        betas=choices.betas,
        eps=choices.eps,
        weight_decay=choices.weight_decay,
    )


def parameter_groups(network: RDNet, backbone_rate: float, rate: float) -> list[dict[str, Any]]:
    """The optimizer's two groups: the backbone, and everything else that is not frozen.

    A group's ``rate_factor`` is what the training loop multiplies the rate of the moment with.
    """
    backbone = list(network.baseball.parameters())
    known = set(backbone)
    others = [p for p in network.parameters() if p.requires_grad and p not in known]
    return [
        {"params": backbone, "lr": backbone_rate, "rate_factor": backbone_rate / rate},
        {"params": others, "lr": rate, "rate_factor": 1.0},
    ]

"""Which parameters are trained, and how fast: the backbone at its own rate, the classifier not at all."""

from __future__ import annotations

from typing import Any

from dereflect.methods.rdnet.network import RDNet


def parameter_groups(network: RDNet, backbone_rate: float, rate: float) -> list[dict[str, Any]]:
    """The optimizer's two groups: the backbone, and everything else that is not frozen."""
    backbone = list(network.baseball.parameters())
    known = set(backbone)
    others = [p for p in network.parameters() if p.requires_grad and p not in known]
    return [{"params": backbone, "lr": backbone_rate}, {"params": others, "lr": rate}]

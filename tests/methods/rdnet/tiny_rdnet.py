"""A very small RDNet with random weights of a useful size, and its checkpoints as the authors write them."""

from collections import Counter, OrderedDict
from typing import Any

import torch
from torch import Tensor

from dereflect.methods.rdnet.config import RDNetConfig
from dereflect.methods.rdnet.network import RDNet

TINY = {
    "channels": (4, 4, 6, 8),
    "blocks": (1, 2, 1, 1),
    "backbone_width": 4,
    "backbone_depths": (1, 1, 2, 1),
    "classifier_widths": (4, 6, 8, 8),
    "classifier_depths": (1, 1, 2, 1),
    "prompt_width": 8,
}


def tiny_config(**settings: Any) -> RDNetConfig:
    return RDNetConfig(**{**TINY, **settings})


def tiny_network(seed: int = 0, **settings: Any) -> RDNet:
    """Weights are drawn so that every part matters to the output (fresh scalings would hide most of it)."""
    network = RDNet(tiny_config(**settings)).eval()
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        fan = max(1, parameter[0].numel()) if parameter.dim() > 1 else 1
        parameter.data.copy_(noise / fan**0.5 if parameter.shape[:1] != (1,) else 0.5 + 0.1 * noise)
    return network


def lightning_file(network: RDNet) -> dict[str, Any]:
    """As the toolbox's trainer writes it: the network under ``net_g.``, the loss's VGG beside it."""
    state = OrderedDict((f"net_g.{key}", value) for key, value in network.state_dict().items())
    state["cri_perceptual.vgg.mean"] = torch.zeros(1, 3, 1, 1)
    state["cri_perceptual.vgg.vgg_net.conv1_1.weight"] = torch.zeros(64, 3, 3, 3)
    return {
        "epoch": 3,
        "global_step": 12,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": state,
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(4)}}, "param_groups": [{"lr": 1e-4}]}],
        "lr_schedulers": [{"milestones": Counter({150: 1, 300: 1})}],
        "hyper_parameters": {"opt": {"network_g": {"channels": [512, 256, 128, 64]}}},
    }


def older_files(network: RDNet) -> tuple[dict[str, Any], dict[str, Any]]:
    """As the older code wrote it: (network's file, classifier's file)."""
    state: dict[str, Tensor] = {"stem_comp.0.weight": torch.zeros(4, 3, 5, 5)}
    classifier = {}
    for key, value in network.state_dict().items():
        if key.startswith("classifier."):
            classifier[key.removeprefix("classifier.")] = value
            continue
        name = key.replace("decoder_blocks.", "decoder_blocks.2.")
        name = name.replace("projback_shit_2", "projback_2").replace("projback_shit", "projback_")
        state[name] = value
        if name != key:
            state[name.replace("decoder_blocks.2.", "decoder_blocks.0.")] = torch.zeros(1)
    return {"icnn": state, "epoch": 20}, {"icnn": classifier}

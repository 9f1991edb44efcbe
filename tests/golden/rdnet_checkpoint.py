"""A checkpoint as the toolbox's trainer writes it, made from the recorded layout and a tiny network."""

import json
import tempfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import torch
from fixtures import GoldenFile, manifest
from rdnet_recipe import filled, tiny_config

from dereflect.methods.rdnet.config import RDNetConfig
from dereflect.methods.rdnet.network import RDNet
from dereflect.methods.rdnet.official import config_of, is_old, network_state
from dereflect.methods.rdnet.optimiser import parameter_groups
from dereflect.weights import read_checkpoint


def check_checkpoint_layout(file: GoldenFile) -> None:
    layout = json.loads(file.path.read_text())
    network = network_of(file)
    content = checkpoint_like(layout, network)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rdnet.ckpt"
        torch.save(content, path)
        read = read_checkpoint(path)
    assert list(read) == list(layout["outer"])
    assert isinstance(read["lr_schedulers"][0]["milestones"], Counter)
    state = network_state(read)
    assert len(state) == layout["state_dict_prefixes"]["net_g"]
    assert not is_old(state, "file")
    found = config_of(state, "transmission_first", "file")
    assert found == RDNetConfig(**{**vars(network.config), "drop_rate": RDNetConfig().drop_rate})
    other = RDNet(found)
    other.load_state_dict(state)
    image = torch.rand(1, 3, 32, 32)
    for mine, theirs in zip(network(image)[-1], other.eval()(image)[-1], strict=True):
        assert torch.equal(mine, theirs)
    check_trained_groups(layout, network)


def network_of(file: GoldenFile) -> RDNet:
    """The tiny network of another fixture of the folder, whichever is there."""
    for name in manifest(file.path.parent):
        if name.startswith(("network_small", "train_step")):
            other = GoldenFile(file.path.with_name(name))
            return filled(other, tiny_config(other), torch.float32)
    raise AssertionError("the manifest names no tiny network")


def checkpoint_like(layout: dict[str, Any], network: RDNet) -> dict[str, Any]:
    """The outer structure with values of the recorded types, and the network's tensors in it."""
    content = {key: example(value) for key, value in layout["outer"].items()}
    state = OrderedDict((f"net_g.{key}", value) for key, value in network.state_dict().items())
    state.update((key, torch.zeros(1)) for key in layout["state_dict_other_keys"])
    milestones = {int(key): 1 for key in layout["outer"]["lr_schedulers"][1]["milestones"]}
    content["state_dict"] = state
    content["optimizer_states"] = [{"state": {0: example(layout["optimizer_states"]["state_entry"])}}]
    content["lr_schedulers"] = [{"milestones": Counter(milestones), "gamma": 0.5}]
    content["hyper_parameters"] = {"opt": {"network_g": layout["hyper_parameters"]["opt.network_g"]}}
    return content


def example(kind: Any) -> Any:
    """A value of the kind that the layout tells in words."""
    if isinstance(kind, dict):
        return {key: example(value) for key, value in kind.items()}
    if isinstance(kind, list):
        return [example(value) for value in kind[1:]]
    simple = {"int": 1, "float": 0.5, "str": "text", "bool": True, "dict": {}, "list": [], "OrderedDict": {}}
    return torch.zeros(1) if str(kind).startswith("tensor") else simple[kind]


def check_trained_groups(layout: dict[str, Any], network: RDNet) -> None:
    """Two groups of parameters with the recorded numbers and sizes."""
    recorded = layout["optimizer_states"]["param_groups"]
    groups = parameter_groups(network, *(group["lr"] for group in recorded))
    for group, wanted in zip(groups, recorded, strict=True):
        assert f"{len(group['params'])} indices" == wanted["params"]
        assert group["lr"] == wanted["lr"]

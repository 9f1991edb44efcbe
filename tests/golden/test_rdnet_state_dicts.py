"""Keys and shapes of RDNet, in order and strictly both ways, against those of the published networks."""

import gzip
import json
from pathlib import Path

import pytest
import torch

from dereflect.methods.rdnet.config import RDNetConfig
from dereflect.methods.rdnet.network import RDNet
from dereflect.methods.rdnet.official import config_of, modern_state, network_state

PUBLISHED = json.loads(
    gzip.decompress((Path(__file__).parent / "state_dicts" / "rdnet.json.gz").read_bytes())
)
COUNTS = PUBLISHED["counts"]


def network(**settings) -> RDNet:
    with torch.device("meta"):
        return RDNet(RDNetConfig(**settings))


def layout(state) -> list[tuple[str, list[int]]]:
    return [(key, list(value.shape)) for key, value in state.items()]


def blank(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


@pytest.mark.parametrize(("name", "prompt"), [("network", "numbers"), ("network_ntire", "map")])
def test_keys_and_shapes_are_the_published_ones(name: str, prompt: str):
    made = network(prompt=prompt)
    assert layout(made.state_dict()) == list(PUBLISHED[name].items())
    assert sum(p.numel() for p in made.parameters()) == COUNTS[f"{name}_parameters"]
    assert len(made.state_dict()) == COUNTS[f"{name}_tensors"]


def test_each_part_has_the_published_number_of_parameters():
    made = network()
    for name, count in COUNTS["network_parameters_by_child"].items():
        assert sum(p.numel() for p in made.get_submodule(name).parameters()) == count, name
    assert sum(p.numel() for p in made.parameters() if p.requires_grad) == COUNTS["trainable_parameters"]


def test_the_older_layout_and_its_classifier_give_the_same_keys_and_shapes():
    old, classifier = blank(PUBLISHED["network_old"]), blank(PUBLISHED["classifier_old"])
    assert dict(layout(modern_state(old, classifier))) == PUBLISHED["network"]
    left_out = len(old) + len(classifier) - len(PUBLISHED["network"])
    unused = [key for key in old if key.startswith(("stem_comp.", "decoder_blocks.0.", "decoder_blocks.1."))]
    assert left_out == len(unused) > 0


@pytest.mark.parametrize("name", ["network", "network_ntire"])
def test_a_lightning_file_is_stripped_to_the_network(name: str):
    state = {PUBLISHED["lightning_prefix"] + key: value for key, value in blank(PUBLISHED[name]).items()}
    state |= blank(PUBLISHED["lightning_other_state_dict_keys"])
    assert layout(network_state({"state_dict": state, "epoch": 3})) == list(PUBLISHED[name].items())


@pytest.mark.parametrize(("name", "prompt"), [("network", "numbers"), ("network_ntire", "map")])
def test_the_configuration_is_read_from_keys_and_shapes(name: str, prompt: str):
    found = config_of(blank(PUBLISHED[name]), "transmission_first", "file")
    assert found == RDNetConfig(prompt=prompt)

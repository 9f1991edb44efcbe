"""Keys and shapes of networks, in order, against those of the published ones."""

import gzip
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from dereflect.methods.dsit.config import DSITConfig
from dereflect.methods.dsit.network import DSIT
from dereflect.methods.dsrnet.config import NAMED
from dereflect.methods.dsrnet.network import DSRNet
from dereflect.nn.vgg import LAST_CONVOLUTIONS, Vgg19

PUBLISHED = json.loads(
    gzip.decompress((Path(__file__).parent / "state_dicts" / "dsrnet_dsit.json.gz").read_bytes())
)
DSRNETS = {"dsrnet_xreflection": NAMED["xreflection"]} | {
    name: config for name, config in NAMED.items() if name != "xreflection"
}


def layout(network: nn.Module) -> list[tuple[str, list[int]]]:
    return [(key, list(value.shape)) for key, value in network.state_dict().items()]


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name != "fixture_shapes"])
def test_keys_and_shapes_are_the_published_ones(name: str):
    about = PUBLISHED[name]
    with torch.device("meta"):
        if name == "vgg19":
            network: nn.Module = Vgg19(LAST_CONVOLUTIONS)
        else:
            network = DSIT(DSITConfig()) if name == "dsit" else DSRNet(DSRNETS[name])
    assert layout(network) == list(about["state_dict"].items())
    if "parameters" in about:
        assert sum(parameter.numel() for parameter in network.parameters()) == about["parameters"]

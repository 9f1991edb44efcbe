import pytest
import torch
from small_dmdnet import wake

from dereflect.methods.dmdnet.config import DMDNetConfig
from dereflect.methods.dmdnet.depth import UNUSED_SHAPES, DepthNetwork
from dereflect.methods.dmdnet.network import DMDNet

DIMS = (4, 6, 8, 10, 12)


@pytest.fixture(scope="session")
def small_config():
    return DMDNetConfig(dims=DIMS)


@pytest.fixture(scope="session")
def depth_file(tmp_path_factory):
    """A whole depth file with random weights, in half precision to keep it small."""
    torch.manual_seed(3)
    state = {
        key: value.half() if value.is_floating_point() else value
        for key, value in DepthNetwork().state_dict().items()
    }
    state["scratch.output_conv.4.weight"].abs_()  # its ReLU would let nothing through otherwise
    state["scratch.output_conv.2.bias"].add_(1)
    state["scratch.output_conv.4.bias"].fill_(0.1)
    state |= {key: torch.zeros(shape, dtype=torch.half) for key, shape in UNUSED_SHAPES.items()}
    path = tmp_path_factory.mktemp("depth") / "dpt_next_vit_large_384.pt"
    torch.save({"model": state, "optimizer": {}}, path)
    yield path
    path.unlink()


@pytest.fixture
def official(tmp_path, small_config):
    """The authors' two files for a small network: (network file, banks file, network)."""
    network = wake(DMDNet(small_config))
    state = network.state_dict()
    banks = {key: list(value.unbind()) for key, value in state.items() if key.startswith("memory_")}
    weights = {f"module.{key}": value for key, value in state.items() if not key.startswith("memory_")}
    torch.save({"epoch": 3, "iterations": 9, "network": weights, "opt": None}, tmp_path / "model_latest.pt")
    torch.save(banks, tmp_path / "memory_banks_latest.pt")
    return tmp_path / "model_latest.pt", tmp_path / "memory_banks_latest.pt", network

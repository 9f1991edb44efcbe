import pytest
import torch
from tiny_rdnet import tiny_network

from dereflect.methods.rdnet.fast import products
from dereflect.methods.rdnet.fast.network import separate
from dereflect.methods.rdnet.method import RDNetMethod
from dereflect.methods.rdnet.network import RDNet

WIDE = {"channels": (16, 16, 32, 32), "backbone_width": 16, "classifier_widths": (16, 16, 32, 32)}


def relative(found, wanted) -> float:
    a, b = torch.cat(found, 1).double(), torch.cat(wanted, 1).double()
    return ((a - b).norm() / b.norm()).item()


def plain(network: RDNet, image: torch.Tensor):
    with torch.no_grad():
        return network(image)[-1]


@pytest.mark.parametrize("prompt", ["numbers", "map", "none"])
@pytest.mark.parametrize("size", [(1, 32, 48), (2, 16, 80)])
def test_fast_gives_the_plain_layers(prompt: str, size: tuple[int, int, int]):
    network = tiny_network(prompt=prompt, **WIDE)
    image = torch.rand(size[0], 3, *size[1:])
    with torch.inference_mode():
        assert relative(separate(network, image), plain(network, image)) < 1e-4
        network.double()
        assert relative(separate(network, image.double()), plain(network, image.double())) < 1e-12


def test_fast_gives_the_plain_layers_where_nothing_is_fused(monkeypatch: pytest.MonkeyPatch):
    network, image = tiny_network(**WIDE), torch.rand(1, 3, 32, 48)
    monkeypatch.setattr(products, "fused", lambda name: None)
    with torch.inference_mode():
        assert relative(separate(network, image), plain(network, image)) < 1e-4


def test_rows_in_parts_are_the_whole(monkeypatch: pytest.MonkeyPatch):
    network, image = tiny_network(**WIDE), torch.rand(1, 3, 48, 32)
    monkeypatch.setattr(products, "ROWS_AT_ONCE", 100)
    with torch.inference_mode():
        assert relative(separate(network, image), plain(network, image)) < 1e-4


def test_the_photo_and_the_weights_are_left_as_they_are():
    network, image = tiny_network(**WIDE), torch.rand(1, 3, 32, 32)
    before, state = image.clone(), {key: value.clone() for key, value in network.state_dict().items()}
    with torch.no_grad():
        separate(network, image)
    assert torch.equal(image, before)
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_half_precision_stays_in_the_backbones_branches():
    network, image = tiny_network(**WIDE), torch.rand(1, 3, 32, 48)
    method = RDNetMethod(network.config)
    method.network.load_state_dict(network.state_dict())
    wanted = plain(network, image)
    method.prepare(torch.device("cpu"), torch.bfloat16)
    halves = {name for name, p in method.network.named_parameters() if p.dtype is torch.bfloat16}
    assert halves
    assert all(".modulation." in name or ".mlp." in name for name in halves)
    assert all(name.startswith("baseball.layers.") for name in halves)
    layers = method(image)
    assert all(layer.dtype is torch.float32 for layer in layers)
    assert 1e-5 < relative(layers, wanted) < 0.1


def test_an_operation_that_is_not_there_is_noticed():
    assert not products._works("_linear_pointwise", None)
    assert not products._works("_linear_pointwise", lambda *arguments: 1 + arguments[0])
    assert not products._works("_convolution_pointwise", lambda picture: picture)


def test_in_training_gradients_flow():
    method = RDNetMethod(tiny_network().config).train()
    transmission, _ = method(torch.rand(1, 3, 16, 16))
    assert transmission.requires_grad

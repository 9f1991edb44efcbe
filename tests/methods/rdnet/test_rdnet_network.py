import copy

import pytest
import torch
from tiny_rdnet import tiny_config, tiny_network

from dereflect.errors import ModelError
from dereflect.methods.rdnet.column import Column
from dereflect.methods.rdnet.config import RDNetConfig, config_from
from dereflect.methods.rdnet.network import RDNet
from dereflect.methods.rdnet.reversible import reversible
from dereflect.nn.focalnet import StochasticDepth


@pytest.mark.parametrize("prompt", ["numbers", "map", "none"])
def test_every_column_gives_two_layers_of_the_photos_size(prompt: str):
    outputs = tiny_network(prompt=prompt)(torch.rand(2, 3, 32, 48))
    assert len(outputs) == 4
    for layers in outputs:
        assert [tuple(layer.shape) for layer in layers] == [(2, 3, 32, 48)] * 2


def test_separate_is_the_last_column():
    network, image = tiny_network(), torch.rand(1, 3, 16, 32)
    with torch.no_grad():
        for a, b in zip(network.separate(image), network(image)[-1], strict=True):
            assert torch.equal(a, b)


def test_without_a_prompt_the_stem_enters_as_it_is():
    network = tiny_network(prompt="none")
    stem = torch.rand(1, 4, 8, 8)
    assert network.prompted(torch.rand(1, 3, 16, 16), stem) is stem
    assert not any(key.startswith(("prompt", "classifier")) for key in network.state_dict())


def test_the_order_swaps_the_layers():
    network, image = tiny_network(), torch.rand(1, 3, 16, 16)
    swapped = RDNet(tiny_config(order="reflection_first")).eval()
    swapped.load_state_dict(network.state_dict())
    with torch.no_grad():
        transmission, reflection = network(image)[-1]
        other = swapped(image)[-1]
    assert torch.equal(other[0], reflection)
    assert torch.equal(other[1], transmission)


def test_the_classifier_is_frozen_and_stays_in_eval_mode():
    network = tiny_network().train()
    assert not network.classifier.training
    assert not any(p.requires_grad for p in network.classifier.parameters())
    torch.stack([layer.sum() for layer in network(torch.rand(1, 3, 16, 16))[-1]]).sum().backward()
    assert all(p.grad is None for p in network.classifier.parameters())


@pytest.mark.parametrize("first", [True, False])
def test_reversible_gradients_are_those_of_plain_back_propagation(first: bool):
    torch.manual_seed(3)
    column = Column((4, 6, 6, 8), (1, 2, 1, 1), first).double()
    for parameter in column.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    column.alpha1.data[0, :2] = torch.tensor([2e-4, -3e-4]).view(2, 1, 1)  # moved to 1e-3 and -1e-3
    twin = copy.deepcopy(column)
    sizes = [(4, 16, 24), (4, 16, 24), (6, 8, 12), (6, 4, 6), (8, 2, 3)]
    inputs = [torch.randn(2, *size, dtype=torch.float64) for size in sizes]
    weights = [torch.randn(2, *size, dtype=torch.float64) for size in sizes[1:]]
    found = []
    for way, one in ((Column.__call__, column), (reversible, twin)):
        mine = [value.clone().requires_grad_() for value in inputs]
        outputs = way(one, mine[0], mine[1:])
        torch.stack([(w * o).sum() for w, o in zip(weights, outputs, strict=True)]).sum().backward()
        found.append([value.grad for value in (*mine, *one.parameters())])
    assert column.alpha1.data[0, :2].flatten().tolist() == [1e-3, -1e-3]
    for plain, saving in zip(*found, strict=True):
        assert torch.allclose(plain, saving, rtol=1e-7, atol=1e-8 * float(plain.abs().max()))


def test_reversible_columns_follow_autocast():
    torch.manual_seed(4)
    column = Column((16, 16, 16, 16), (1, 1, 1, 1), first=False)
    for parameter in column.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    sizes = [(16, 16, 16), (16, 16, 16), (16, 8, 8), (16, 4, 4), (16, 2, 2)]
    inputs = [torch.randn(1, *size) for size in sizes]
    found = []
    for way in (Column.__call__, reversible):
        mine = [value.clone().requires_grad_() for value in inputs]
        with torch.autocast("cpu", torch.bfloat16):
            outputs = way(column, mine[0], mine[1:])
        torch.stack([output.float().square().mean() for output in outputs]).sum().backward()
        found.append([value.grad for value in mine])
    for plain, saving in zip(*found, strict=True):
        assert ((plain - saving).norm() / plain.norm()).item() < 0.01


def test_the_reversible_network_keeps_no_activations_of_its_columns():
    network = tiny_network().double().train()
    for stage in network.baseball.layers:
        for block in stage.blocks:
            block.drop.rate = 0.0
    image = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    gradients = []
    held = []
    for save_memory in (False, True):
        network.zero_grad()
        total = 0

        def count(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            outputs = network(image, save_memory=save_memory)
        held.append(total)
        torch.stack([layer.square().mean() for pair in outputs for layer in pair]).sum().backward()
        gradients.append({name: p.grad.clone() for name, p in network.named_parameters() if p.requires_grad})
    assert held[1] < 0.8 * held[0]
    for name, plain in gradients[0].items():
        assert torch.allclose(plain, gradients[1][name], rtol=1e-6, atol=1e-9), name


def test_stochastic_depth_drops_whole_pictures_and_keeps_the_mean():
    torch.manual_seed(0)
    drop = StochasticDepth(0.25)
    kept = drop(torch.ones(4000, 2, 2))
    assert kept.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert torch.equal(kept[:, 0, 0], kept[:, 1, 1])
    assert abs(kept.mean().item() - 1) < 0.05
    assert torch.equal(drop.eval()(torch.ones(3, 1)), torch.ones(3, 1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": [1, 2, 3]}, "four positive"),
        ({"channels": [3, 4, 4, 4]}, "even"),
        ({"prompt": "words"}, "numbers, map, none"),
        ({"order": "both"}, "transmission_first"),
        ({"columns": 0}, "positive"),
        ({"drop_rate": 1.0}, "drop_rate"),
        ({"colums": 4}, "unknown RDNet setting 'colums'"),
        ({"columns": "4"}, "of type int"),
        ({"blocks": [1, 2, 1, "1"]}, "list of integers"),
    ],
)
def test_a_wrong_configuration_names_the_field(settings: dict, message: str):
    with pytest.raises(ModelError, match=message):
        config_from(settings, "config.json")


def test_lists_of_a_config_file_are_taken_as_tuples():
    assert config_from({"channels": [64, 128, 256, 512]}, "config.json") == RDNetConfig()

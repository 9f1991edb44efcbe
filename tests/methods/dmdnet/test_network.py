import dataclasses

import numpy as np
import pytest
import torch
from small_dmdnet import random_depth, wake

from dereflect.errors import ModelError
from dereflect.methods.dmdnet.config import DMDNetConfig
from dereflect.methods.dmdnet.memory import MECM, evolve
from dereflect.methods.dmdnet.network import DMDNet
from dereflect.methods.dmdnet.orders import connected_components, regional_order


def test_full_network_has_the_published_count_of_values():
    with torch.device("meta"):
        network = DMDNet()
    assert sum(parameter.numel() for parameter in network.parameters()) == 68_547_015
    assert sum(value.numel() for value in network.state_dict().values()) == 87_218_631


def test_a_batch_separates_as_its_pictures_do(small_config):
    network = wake(DMDNet(small_config)).double()
    depth, image = (
        random_depth(32, 64, batch=3, dtype=torch.float64),
        torch.rand(3, 3, 32, 64, dtype=torch.float64),
    )
    with torch.no_grad():
        together = network(image, depth).transmission
        for i in range(3):
            one = dataclasses.replace(
                depth,
                semantics=tuple(s[i : i + 1] for s in depth.semantics),
                proximity=depth.proximity[i : i + 1],
            )
            alone = network(image[i : i + 1], one).transmission
            torch.testing.assert_close(together[i : i + 1], alone, atol=1e-10, rtol=0)


def test_forward_leaves_the_banks_alone_and_remember_moves_them(small_config):
    network = wake(DMDNet(small_config))
    before = {name: value.clone() for name, value in network.named_buffers()}
    done = network(torch.rand(1, 3, 32, 32), random_depth(32, 32), train=True)
    assert len(done.traces) == 22
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())
    network.remember(done.traces)
    assert all(not torch.equal(value, before[name]) for name, value in network.named_buffers())


def test_evolution_touches_only_experts_that_ran():
    memory = torch.rand(3, 5, 5)
    after = evolve(memory, torch.rand(1, 5), torch.tensor([[False, True, False]]))
    assert torch.equal(after[0], memory[0])
    assert torch.equal(after[2], memory[2])
    torch.testing.assert_close(after[1].norm(dim=1), torch.ones(5))


def test_gate_with_equal_selection_scores_stays_finite():
    module = MECM(4, DMDNetConfig())
    with torch.no_grad():
        module.gate.fc0.weight.zero_()
        module.gate.fc0.bias.zero_()
    gate = module.gate(torch.rand(2, 4, 3, 3))
    assert torch.isfinite(gate).all()
    torch.testing.assert_close(gate.sum(1), torch.ones(2))
    assert ((gate > 0).sum(1) == 2).all()


def test_ordering_layers_learn_only_where_asked(small_config):
    for ordering, learns in (("hard", False), ("learned", True)):
        network = wake(DMDNet(dataclasses.replace(small_config, ordering=ordering)))
        torch.manual_seed(0)
        done = network(torch.rand(1, 3, 32, 32), random_depth(32, 32), train=True)
        (done.transmission.sum() + done.reflection.sum()).backward()
        got = [name for name, p in network.named_parameters() if p.grad is not None and ".fuse." in name]
        choice = [name for name, p in network.named_parameters() if p.grad is not None and "gate.fc0" in name]
        assert bool(got) == bool(choice) == learns


def test_learned_ordering_does_not_change_the_result(small_config):
    network = wake(DMDNet(small_config)).double()
    other = DMDNet(dataclasses.replace(small_config, ordering="learned")).double()
    other.load_state_dict(network.state_dict())
    image, depth = torch.rand(1, 3, 32, 32, dtype=torch.float64), random_depth(32, 32, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(other(image, depth).transmission, network(image, depth).transmission)


def test_components_are_those_of_scipy():
    ndimage = pytest.importorskip("scipy.ndimage")
    random = np.random.default_rng(0)
    for _ in range(300):
        mask = random.random(random.integers(1, 25, 2)) < random.random()
        assert np.array_equal(connected_components(mask), ndimage.label(mask)[0])


def test_order_is_a_permutation_even_of_a_constant_map():
    for value in (torch.zeros(6, 5), torch.rand(6, 5), torch.arange(30.0).view(6, 5)):
        assert torch.equal(regional_order(value).sort().values, torch.arange(30))


@pytest.mark.parametrize("wrong", [{"top_k": 5}, {"dims": (1, 2, 3)}, {"decoder_blocks": (0, 1, 1, 1, 1)}])
def test_impossible_shapes_are_refused(wrong):
    with pytest.raises(ModelError):
        DMDNetConfig(**wrong).check()

"""Where trainers put a network in their files, and what they put before its names."""

import pytest
import torch

from dereflect.methods.checkpoints import beside_network, network_state, unwrapped

WEIGHT = torch.ones(2)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_prefixes_of_devices_and_compilation_are_taken_off(prefix: str):
    assert unwrapped({f"{prefix}a.weight": WEIGHT, "step": 3}).keys() == {"a.weight"}


@pytest.mark.parametrize("outer", ["", "module.", "_orig_mod."])
@pytest.mark.parametrize("inner", ["", "module.", "_orig_mod."])
def test_of_a_lightning_module_the_network_alone_is_taken(outer: str, inner: str):
    state = {f"{outer}net_g.{inner}a.weight": WEIGHT, f"{outer}vgg.a.weight": 2 * WEIGHT}
    assert unwrapped(state) == {"a.weight": WEIGHT}
    assert beside_network({"state_dict": state}, "vgg.")["a.weight"].tolist() == [2, 2]


def test_weights_as_trained_come_before_their_averages():
    trained, averaged = {"a": WEIGHT}, {"a": 2 * WEIGHT}
    for place in ("state_dict", "params", "weights", "weight"):
        assert network_state({"model_ema": averaged, place: trained}, ["a"])["a"] is WEIGHT
    assert network_state({"params_ema": averaged}, ["a"])["a"].tolist() == [2, 2]


def test_a_file_without_the_marks_holds_no_such_network():
    state = {"a": WEIGHT, "b": WEIGHT}
    assert network_state(state, ["a", "c"]) == {}
    assert network_state(state, ["a", "c"], enough=any).keys() == {"a", "b"}
    assert network_state({"icnn": state}, ["a"]) == {}
    assert network_state({"icnn": state}, ["a"], places=["icnn"]).keys() == {"a", "b"}

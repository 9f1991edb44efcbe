import pytest
import torch
from small_dsrnet import SMALL, small_dsrnet

from dereflect.methods.dsrnet.config import DSRNetConfig
from dereflect.methods.dsrnet.fast import separate
from dereflect.nn.vgg import Vgg19

SHARED = DSRNetConfig(**{**vars(SMALL), "shared_b": True, "residual_blocks": (2, 1)})


@pytest.mark.parametrize("config", [SMALL, SHARED], ids=["unshared", "shared"])
@pytest.mark.parametrize("bytes_at_once", [1 << 25, 1 << 16], ids=["whole", "bands"])
def test_fast_form_is_the_plain_one(monkeypatch, config: DSRNetConfig, bytes_at_once: int):
    monkeypatch.setattr("dereflect.nn.gated_in_place.BYTES_AT_ONCE", bytes_at_once)
    network, vgg, image = small_dsrnet(config=config), Vgg19(), torch.rand(1, 3, 32, 48)
    kept = image.clone()
    for dtype, limit in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        network.to(dtype), vgg.to(dtype)
        with torch.no_grad():
            plain = network(image.to(dtype), vgg(image.to(dtype)))
        fast = separate(network, vgg, image.to(dtype), residual=True)
        for wanted, found in zip(plain, fast, strict=True):
            assert (found - wanted).abs().max() <= limit * wanted.abs().max()
    assert torch.equal(image, kept)


def test_residual_is_left_out_unless_asked_for():
    network, vgg, image = small_dsrnet(), Vgg19(), torch.rand(2, 3, 32, 16)
    transmission, reflection, residual = separate(network, vgg, image)
    assert residual is None
    for layer, wanted in zip((transmission, reflection), network(image, vgg(image)), strict=False):
        assert torch.allclose(layer, wanted, atol=1e-4, rtol=1e-4)

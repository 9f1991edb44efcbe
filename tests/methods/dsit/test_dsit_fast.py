import pytest
import torch
from small_dsit import SMALL, small_dsit

from dereflect.methods.dsit.config import DSITConfig
from dereflect.methods.dsit.fast.network import separate

WIDE_WINDOW = DSITConfig(**{**vars(SMALL), "window": 6, "swin_window": 6, "resolution": 384})


@pytest.mark.parametrize("config", [SMALL, WIDE_WINDOW], ids=["windows fit", "padded windows"])
@pytest.mark.parametrize("bytes_at_once", [1 << 25, 1 << 12], ids=["whole", "bands"])
def test_fast_form_is_the_plain_one(monkeypatch, config: DSITConfig, bytes_at_once: int):
    monkeypatch.setattr("dereflect.nn.gated_in_place.BYTES_AT_ONCE", bytes_at_once)
    monkeypatch.setattr("dereflect.nn.attention_in_place.BYTES_AT_ONCE", bytes_at_once)
    network, image = small_dsit(config=config), torch.rand(2, 3, 32, 64)
    kept = image.clone()
    for dtype, limit in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        network.to(dtype)
        with torch.no_grad():
            plain = network(image.to(dtype))
        for wanted, found in zip(plain, separate(network, image.to(dtype)), strict=True):
            assert (found - wanted).abs().max() <= limit * wanted.abs().max()
    assert torch.equal(image, kept)

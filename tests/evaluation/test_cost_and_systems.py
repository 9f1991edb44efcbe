import sys

import numpy as np
import pytest
import torch

from dereflect.evaluation.cost import measured_cost
from dereflect.evaluation.systems import Model, digest_of, load_models


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a process its peak memory within a block"
)
def test_peak_memory_is_that_of_the_block():
    with measured_cost() as quiet:
        pass
    with measured_cost() as cost:
        block = np.ones(96 << 20, np.uint8)
        total = int(block[::4096].sum())
        del block
    assert total == (96 << 20) // 4096
    if cost.peak_bytes is None:
        pytest.skip("/proc/self/clear_refs cannot be written here")
    assert cost.peak_bytes >= 90 << 20
    assert quiet.peak_bytes < 50 << 20
    assert cost.seconds > 0


def test_a_model_is_told_apart_by_its_weights_and_settings(model_folder):
    first, second = load_models([str(model_folder)] * 2, {}, {"device": "cpu", "dtype": "float32"})
    assert first.name == "tiny"
    assert second.name == str(model_folder)  # one name would mix their records
    before = digest_of(first.separator.method)
    assert before == digest_of(second.separator.method)
    with torch.no_grad():
        next(second.separator.method.parameters()).add_(1)
    assert digest_of(second.separator.method) != before
    other = Model(first.separator, "tiny", {"tile": "off"})
    assert other.identity != first.identity


def test_layers_come_back_at_the_pictures_size_from_bytes_and_floats(model_folder):
    (model,) = load_models([str(model_folder)], {}, {"device": "cpu", "dtype": "float32"})
    photo = np.random.default_rng(0).integers(0, 256, (37, 50, 3), dtype=np.uint8)
    layers = model.separate(photo)
    floats = model.separate((photo / 255).astype(np.float32))
    for layer, same in zip(layers, floats, strict=True):
        assert layer.shape == (37, 50, 3)
        assert layer.dtype == np.float32
        assert np.abs(layer - same).max() < 1e-5

import subprocess
import sys

import numpy as np
import pytest
import torch

from dereflect.evaluation.systems import Model, digest_of, load_models

MEASURE = """
import numpy as np
from dereflect.evaluation.cost import measured_cost

with measured_cost() as quiet:
    pass
with measured_cost() as cost:
    block = np.ones(96 << 20, np.uint8)
    assert int(block[::4096].sum()) == (96 << 20) // 4096
    del block
print(quiet.peak_bytes, cost.peak_bytes, cost.seconds)
"""


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a process its peak memory within a block"
)
def test_peak_memory_is_that_of_the_block():
    # In a process of its own: what earlier tests have left, the system may take back during the block.
    said = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True).stdout
    quiet, peak, seconds = said.split()
    if peak == "None":
        pytest.skip("/proc/self/clear_refs cannot be written here")
    assert int(peak) >= 90 << 20
    assert int(quiet) < 50 << 20
    assert float(seconds) > 0


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

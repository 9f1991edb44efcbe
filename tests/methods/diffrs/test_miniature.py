"""The parts of DiffRS learn to separate together: everything trained from nothing on small pictures."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("diffusers")
pytest.importorskip("accelerate")

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "diffrs_miniature.py"


def load_script():
    spec = importlib.util.spec_from_file_location("diffrs_miniature", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_miniature_separates_better_than_returning_the_input(tmp_path):
    script = load_script()
    found = script.run(
        tmp_path,
        [0],
        synthesis_steps=100,
        unet_steps=400,
        pictures=16,
        sampling_steps=10,
        rows=("+C", "+C+O"),
    )
    input_t, input_r = found["input"][0]
    for row in ("autoencoder alone", "+C", "+C+O"):
        t, r = found[row][0]
        assert t > input_t, script.table(found)
        assert r > input_r, script.table(found)

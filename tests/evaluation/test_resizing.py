import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from dereflect.evaluation.protocol import PROTOCOLS
from dereflect.evaluation.resizing import from_square, resized, to_square


def read(path):
    with safe_open(path, "numpy") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, json.loads(file.metadata()["config"])  # noqa: SIM118


def test_the_square_is_that_of_the_diffrs_fixtures(pytestconfig):
    file, config = read(pytestconfig.getoption("golden_dir") / "diffrs" / "preprocess.safetensors")
    sizes = sorted(key.removeprefix("img_") for key in file if key.startswith("img_"))
    assert set(file) == {f"{kind}_{size}" for kind in ("img", "norm") for size in sizes}
    for size in sizes:
        made = to_square(file[f"img_{size}"].transpose(1, 2, 0), config["res"])
        assert np.abs(2 * made - 1 - file[f"norm_{size}"][0].transpose(1, 2, 0)).max() <= 1e-6


def test_the_way_back_is_that_of_the_diffrs_fixtures(pytestconfig):
    file, _ = read(pytestconfig.getoption("golden_dir") / "diffrs" / "resize_back.safetensors")
    square = np.clip((file["decoded"][0].transpose(1, 2, 0) + 1) / 2, 0, 1)
    sizes = sorted(key.removeprefix("float_") for key in file if key.startswith("float_"))
    assert sizes
    for size in sizes:
        height, width = (int(side) for side in size.split("x"))
        expected = file[f"float_{size}"].transpose(1, 2, 0)
        assert from_square(square, height, width) == pytest.approx(expected, abs=2e-6)


def test_multiples_of_16_are_those_of_the_ytmt_fixtures(pytestconfig):
    file = load_file(pytestconfig.getoption("golden_dir") / "ytmt" / "geometry.safetensors")
    cases = sorted(
        key.removesuffix(".in") for key in file if key.startswith("align.") and key.endswith(".in")
    )
    assert cases
    for case in cases:
        picture = file[f"{case}.in"]
        size = PROTOCOLS["ytmt"].aligned_size(picture.shape[1], picture.shape[0])
        assert (resized(picture, size) == file[f"{case}.out"]).all()

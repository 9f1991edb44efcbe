import json
from pathlib import Path

import pytest
import torch

from dereflect.catalog import load_method
from dereflect.errors import ModelError
from dereflect.weights import read_checkpoint, save_state


def test_a_path_of_weights_may_begin_at_home(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    torch.save({"a": torch.ones(1)}, tmp_path / "weights.pt")
    assert read_checkpoint("~/weights.pt").keys() == {"a"}


@pytest.mark.parametrize("method", [["default"], {"name": "default"}, 3, None, "defalt"])
def test_a_folder_of_no_known_method_is_one_line(method, tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({"method": method, "config": {}}))
    with pytest.raises(ModelError, match=r"config\.json: method '\w+' is unknown; one of default, "):
        load_method(tmp_path)


def test_one_tensor_under_two_names_is_written_twice(tmp_path: Path):
    shared = torch.arange(3.0)
    save_state({"a": shared, "b": shared, "c": torch.zeros(2)}, tmp_path / "model.safetensors")
    state = read_checkpoint(tmp_path / "model.safetensors")
    assert state.keys() == {"a", "b", "c"}
    assert torch.equal(state["a"], shared)
    assert torch.equal(state["b"], shared)

"""`dereflect export`, from the command line to a separated photo."""

import json

import numpy as np
import pytest
from command_line import names, photo
from PIL import Image

pytest.importorskip("onnxscript", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")


@pytest.mark.slow
def test_an_exported_model_separates_as_its_folder_does(dereflect, model_folder, tmp_path):
    picture, file = photo(tmp_path / "a.png"), tmp_path / "new" / "tiny.onnx"
    done = dereflect("export", model_folder, file, "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert (said["name"], said["family"], said["dtype"]) == (model_folder.name, "default", "float32")
    assert done.err == ""
    layers = []
    for model, out in ((file, tmp_path / "1"), (model_folder, tmp_path / "2")):
        arguments = ("separate", picture, "--model", model, "-o", out, "--device", "cpu")
        assert dereflect(*arguments, "--dtype", "float32").code == 0
        assert names(out) == ["a_reflection.png", "a_transmission.png"]
        layers.append(np.asarray(Image.open(out / "a_transmission.png")).astype(int))
    assert np.abs(layers[0] - layers[1]).max() <= 1


def test_a_file_that_is_there_is_kept_and_the_option_named(dereflect, tmp_path):
    file = tmp_path / "mine.onnx"
    file.write_bytes(b"mine")
    done = dereflect("export", "default", file)
    assert done.code == 2
    assert done.lines == [f"dereflect: {file}: exists already; --overwrite replaces it"]
    assert file.read_bytes() == b"mine"


def test_a_file_of_another_kind_is_one_line(dereflect, tmp_path):
    file = tmp_path / "broken.onnx"
    file.write_bytes(b"no model")
    done = dereflect("separate", photo(tmp_path / "a.png"), "--model", file)
    assert done.code == 2
    assert len(done.lines) == 1
    assert str(file) in done.lines[0]
    assert "not a readable ONNX file" in done.lines[0]


def test_a_model_without_an_exported_form_is_told_before_its_weights_are_asked_for(dereflect, tmp_path):
    done = dereflect("export", "dsit", tmp_path / "dsit.onnx")
    assert done.code == 2
    assert len(done.lines) == 1
    assert "models of dsit cannot be exported; those of default" in done.lines[0]

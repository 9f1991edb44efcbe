"""Models as ONNX files: written, described, run again by the Separator, and refused where they cannot be."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

import dereflect
from dereflect._version import __version__
from dereflect.errors import InputError, MissingExtra, ModelError
from dereflect.export import storage
from dereflect.export.storage import LEAST, store_weights
from dereflect.export.writing import export, made_picture, measure
from dereflect.methods.default.method import DefaultMethod
from dereflect.methods.default.network import DefaultConfig
from dereflect.separator import Separator
from simple_methods import Share

onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("onnxscript", reason="needs the extra onnx")
onnx_ir = pytest.importorskip("onnx_ir", reason="needs the extra onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")

SMALL = {"widths": (8, 8, 8), "encoder_blocks": (1, 1, 1), "decoder_blocks": (1, 1), "head_width": 8}
ODD_SIZES = ((65, 97), (101, 67), (131, 173), (33, 201))


def small_default(**config) -> DefaultMethod:
    """A narrow default network of random weights, whose corrections are strong enough not to be dropped."""
    torch.manual_seed(1)
    method = DefaultMethod(DefaultConfig(**{"encoder": ""} | SMALL | config)).eval()
    for module in method.network.modules():
        if (
            isinstance(module, nn.Linear | nn.Conv2d) and module.weight.std() < 2e-3
        ):  # begins by saying nothing
            nn.init.normal_(module.weight, std=0.05)
    return method


def picture(height: int, width: int) -> np.ndarray:
    return (255 * made_picture(height, width, 3)[0].permute(1, 2, 0).numpy()).round().astype(np.uint8)


def pixels(separation, layer: str) -> np.ndarray:
    return np.asarray(getattr(separation, layer)).astype(int)


def assert_same_layers(method, path, size) -> None:
    """Within 1e-4 before rounding, and one level in 8 bit, through the same Separator.

    Something must have been taken away: that both leave the photo as it is would show nothing.
    """
    ours, theirs = Separator(method, dtype="float32"), dereflect.load(path)
    photo = picture(*size)
    (t, r), (t_wanted, r_wanted) = theirs.tensors(photo), ours.tensors(photo)
    assert (t - t_wanted).abs().max() < 1e-4
    assert (r - r_wanted).abs().max() < 1e-4
    taken = (t_wanted - torch.from_numpy(photo).permute(2, 0, 1) / 255).abs().max()
    assert taken > 0.02
    rounded, wanted = theirs(photo), ours(photo)
    for layer in ("transmission", "reflection"):
        assert np.abs(pixels(rounded, layer) - pixels(wanted, layer)).max() <= 1


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A small method, its file, and what was said of it."""
    method, path = small_default(), tmp_path_factory.mktemp("onnx") / "small.onnx"
    return method, path, export(method, path, name="small", licence="free", weights="float32")


@pytest.mark.parametrize("size", ODD_SIZES)
def test_a_file_gives_what_torch_gives_at_odd_sizes(exported, size):
    assert_same_layers(exported[0], exported[1], size)


def test_fitted_and_tiled_runs_give_what_torch_gives(exported):
    method, path, _ = exported
    photo = picture(150, 210)
    for how in ({"max_size": 100}, {"tile": 96}, {"quality": "best"}):
        wanted = Separator(method, dtype="float32", **how)(photo)
        found = dereflect.load(path, **how)(photo)
        assert found.how == wanted.how
        assert np.abs(pixels(found, "transmission") - pixels(wanted, "transmission")).max() <= 1


def test_a_file_says_what_it_is(exported):
    method, path, said = exported
    keys = {entry.key.removeprefix("dereflect."): entry.value for entry in onnx.load(path).metadata_props}
    assert keys["format"] == "1"
    assert (keys["name"], keys["family"], keys["licence"]) == ("small", "default", "free")
    assert keys["version"] == __version__
    assert (keys["input"], keys["outputs"], keys["range"]) == ("blended", "transmission,reflection", "0,1")
    assert (keys["size_multiple"], keys["min_size"], keys["working_size"]) == ("32", "64", "512")
    assert keys["tileable"] == "true"
    assert (keys["dtype"], keys["weights"]) == ("float32", "float32")
    assert keys["difference"] == said.description.difference
    loaded = dereflect.load(path)
    assert loaded.method.traits.working_size == method.traits.working_size
    assert loaded.method.traits.fades == method.traits.fades
    assert loaded.running == "cpu in float32"


def test_a_file_tells_nothing_of_the_machine_that_wrote_it(exported):
    content = exported[1].read_bytes()
    assert b"/site-packages/" not in content
    assert __file__.encode() not in content


def stored_again(path, into, kind: str) -> str:
    """The same graph with its weights stored in another format; tracing a network takes much longer."""
    model = onnx_ir.load(path)
    narrowest = store_weights(model, kind)
    onnx_ir.save(model, into)
    return narrowest


def test_auto_stores_what_loses_nothing_in_half_the_space(exported, tmp_path):
    _, path, _ = exported
    exact, narrow = tmp_path / "exact.onnx", tmp_path / "narrow.onnx"
    assert stored_again(path, exact, "auto") == "float32"  # random weights lose something
    stored_again(path, tmp_path / "rounded.onnx", "float16")
    session = onnxruntime.InferenceSession(tmp_path / "rounded.onnx")
    rounded = onnx_ir.load(path)
    for value in rounded.graph.initializers.values():
        if value.dtype == onnx_ir.DataType.FLOAT:
            numbers = value.const_value.numpy().astype(np.float16).astype(np.float32)
            value.const_value = onnx_ir.tensor(numbers, name=value.name)
    onnx_ir.save(rounded, tmp_path / "wide.onnx")
    assert stored_again(tmp_path / "wide.onnx", narrow, "auto") == "float16"
    assert narrow.stat().st_size < (tmp_path / "wide.onnx").stat().st_size - 20_000
    photo = {"blended": made_picture(64, 96, 1).numpy()}
    found, wanted = (
        onnxruntime.InferenceSession(tmp_path / name).run(None, photo)
        for name in ("narrow.onnx", "wide.onnx")
    )
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-6)
    np.testing.assert_allclose(session.run(None, photo)[0], wanted[0], atol=1e-3)


def test_eight_bit_weights_are_measured(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "FEW", LEAST)  # all of a small network's are few
    method, path, _ = exported
    small = tmp_path / "int8.onnx"
    assert stored_again(path, small, "int8") == "int8"
    mean, largest = measure(method, small, small)
    assert 0 < mean < 0.02
    assert mean < largest
    tensors = onnx.load(small).graph.initializer
    assert {tensor.data_type for tensor in tensors if np.prod(tensor.dims) >= LEAST} == {
        onnx.TensorProto.INT8
    }


@pytest.mark.slow
def test_what_narrow_weights_lose_is_said_in_the_file(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "FEW", LEAST)
    said = export(exported[0], tmp_path / "int8.onnx", name="small", weights="int8")
    assert said.description.weights == "int8"
    assert f"mean {said.mean:.1e}, largest {said.largest:.1e}" in said.description.difference
    found = dereflect.load(tmp_path / "int8.onnx").method.description
    assert found.as_properties() == said.description.as_properties()


@pytest.mark.slow
def test_half_precision_is_inside_alone(exported, tmp_path):
    method, path, _ = exported
    said = export(method, tmp_path / "half.onnx", name="small", dtype="float16")
    assert 0 < said.mean < 0.002
    graph = onnx.load(tmp_path / "half.onnx").graph
    assert {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)} == {
        onnx.TensorProto.FLOAT
    }
    types = {tensor.data_type for tensor in graph.initializer if len(tensor.dims) == 4}
    assert types == {onnx.TensorProto.FLOAT16}
    assert dereflect.load(tmp_path / "half.onnx").running == "cpu in float16"
    assert dereflect.load(path).running == "cpu in float32"


def test_another_number_format_than_the_file_s_is_refused(exported):
    with pytest.raises(InputError, match="dtype bfloat16: this model computes in float32 alone; take auto"):
        dereflect.load(exported[1], dtype="bfloat16")


def test_what_is_there_is_kept_unless_overwritten(exported, tmp_path):
    path = tmp_path / "mine.onnx"
    path.write_bytes(b"mine")
    with pytest.raises(InputError, match=r"mine.onnx: exists already; overwrite=True replaces it"):
        export(exported[0], path, name="small")
    assert path.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("option", ["dtype", "weights"])
def test_an_unknown_number_format_is_named_before_the_work(tmp_path, option):
    with pytest.raises(InputError, match=r"int4: unknown; one of .*float16") as caught:
        export(small_default(), tmp_path / "model.onnx", name="small", **{option: "int4"})
    assert caught.value.option == option


def test_methods_without_a_traced_form_are_refused(tmp_path):
    with pytest.raises(ModelError, match="x: models of share cannot be exported; those of default"):
        export(Share(), tmp_path / "x.onnx", name="x")


def foreign(path, **properties) -> None:
    """A model of another project, in ONNX: twice a picture."""
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["data", "data"], ["prob"])],
        "g",
        [value("data", onnx.TensorProto.FLOAT, [1, 3, 224, 224])],
        [value("prob", onnx.TensorProto.FLOAT, [1, 3, 224, 224])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    onnx.helper.set_model_props(model, properties)
    onnx.save(model, path)


def test_a_model_of_another_project_is_told_from_ours(tmp_path):
    foreign(tmp_path / "other.onnx")
    with pytest.raises(ModelError) as error:
        dereflect.load(tmp_path / "other.onnx")
    said = str(error.value)
    assert "other.onnx: is an ONNX model of another project" in said
    assert "takes data float 1x3x224x224; gives prob float 1x3x224x224" in said
    assert "expected blended 1x3xHxW to transmission and reflection" in said
    assert "\n" not in said


def test_a_format_of_the_future_is_refused(tmp_path):
    foreign(tmp_path / "new.onnx", **{"dereflect.format": "2"})
    with pytest.raises(ModelError, match="is of format '2', and this version reads 1"):
        dereflect.load(tmp_path / "new.onnx")


def test_operators_that_the_runtime_lacks_are_told(exported, tmp_path):
    model = onnx.load(exported[1])
    model.graph.node[0].domain = "org.elsewhere"
    model.opset_import.append(onnx.helper.make_opsetid("org.elsewhere", 1))
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(ModelError, match=rf"odd.onnx: onnxruntime {onnxruntime.__version__} cannot run it"):
        dereflect.load(tmp_path / "odd.onnx")


@pytest.mark.parametrize("content", [b"", b"not a model at all", b"\x08\x08\x12\x07pytorch"])
def test_what_is_no_model_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "broken.onnx").write_bytes(content)
    with pytest.raises((InputError, ModelError), match=r"broken.onnx: [^\n]+$"):
        dereflect.load(tmp_path / "broken.onnx")


def test_without_the_runtime_one_line_names_the_extra(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match=r"small.onnx: .* needs onnxruntime: .*'dereflect\[onnx\]'"):
        dereflect.load(exported[1])


def test_without_the_exporter_one_line_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtra, match=r"writing an ONNX file needs onnxscript: .*'dereflect\[onnx\]'"):
        export(small_default(), tmp_path / "x.onnx", name="x")


def test_an_exported_file_is_not_converted_back(exported, tmp_path):
    with pytest.raises(ModelError, match="cannot be converted"):
        dereflect.load(exported[1]).method.save_pretrained(tmp_path)

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from dereflect import load
from dereflect.catalog import load_method
from dereflect.cli import app
from dereflect.errors import InputError, ModelError
from dereflect.methods.dmdnet.config import DMDNetConfig
from dereflect.methods.dmdnet.depth import UNUSED_SHAPES, DepthNetwork, load_depth_network
from dereflect.methods.dmdnet.method import DMDNetMethod
from dereflect.methods.dmdnet.orders import OrderBook


def test_official_files_load_convert_and_load_again(official, depth_file, tmp_path):
    network_file, banks_file, network = official
    method, name = load_method(network_file, {"banks": str(banks_file), "depth": str(depth_file)})
    assert isinstance(method, DMDNetMethod)
    assert name == "model_latest"
    expected = network.state_dict()
    assert method.config.dims == network.config.dims
    assert set(method.network.state_dict()) == set(expected)
    assert all(torch.equal(value, expected[key]) for key, value in method.network.state_dict().items())

    method.save_pretrained(tmp_path / "converted")
    again, _ = load_method(tmp_path / "converted")
    kept = method.state_dict()
    assert all(torch.equal(value, kept[key]) for key, value in again.state_dict().items())
    image, book = torch.rand(1, 3, 64, 96), OrderBook()
    layers = method(image, orders=book)
    assert all(layer.shape == image.shape for layer in layers)
    for one, other in zip(layers, again(image, orders=forced(book)), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def test_files_in_half_precision_are_loaded_in_single(official, depth_file, tmp_path):
    network_file, banks_file, network = official
    content = torch.load(network_file)
    content["network"] = {key: value.half() for key, value in content["network"].items()}
    torch.save(content, tmp_path / "half.pt")
    options = {"banks": str(banks_file), "depth": str(depth_file)}
    method, _ = load_method(tmp_path / "half.pt", options)
    method.save_pretrained(tmp_path / "folder")
    weights = tmp_path / "folder/model.safetensors"
    state = load_file(weights)
    save_file({k: v.half() if v.is_floating_point() else v for k, v in state.items()}, weights)
    for found in (method, load_method(tmp_path / "folder")[0]):
        assert {v.dtype for v in found.state_dict().values() if v.is_floating_point()} == {torch.float32}
        assert torch.equal(found.network.convert_d[0].weight, network.convert_d[0].weight.half().float())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dims": 5}, "DMDNet setting dims must be of type list of integers"),
        ({"dims": ["a"] * 5}, "DMDNet setting dims must be of type list of integers"),
        ({"experts": 2.0}, "DMDNet setting experts must be of type int"),
        ({"position_code": "yes"}, "DMDNet setting position_code must be of type bool"),
        ({"states": 0}, "states must be above 0"),
        ({"routing": "pixel"}, "routing 'pixel' is unknown; one of sample, batch"),
    ],
)
def test_a_configuration_of_wrong_values_is_refused(settings, message):
    with pytest.raises(ModelError, match=f"config.json: {message}"):
        DMDNetConfig.from_mapping(settings, "config.json")


def forced(book):
    return OrderBook([(book.used[i, "T"], book.used[i, "R"]) for i in range(len(book.used) // 2)])


def test_banks_may_be_lists_or_tensors(official, depth_file, tmp_path):
    network_file, banks_file, _ = official
    stacked = {key: torch.stack(value) for key, value in torch.load(banks_file).items()}
    torch.save(stacked, tmp_path / "stacked.pt")
    options = [
        {"banks": str(path), "depth": str(depth_file)} for path in (banks_file, tmp_path / "stacked.pt")
    ]
    first, second = (load_method(network_file, option)[0].state_dict() for option in options)
    assert all(torch.equal(first[key], second[key]) for key in first)


def refused(source, options, *words):
    with pytest.raises((ModelError, InputError)) as caught:
        load_method(source, options)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def test_missing_and_wrong_files_are_named(official, depth_file, tmp_path):
    network_file, banks_file, _ = official
    given = {"banks": str(banks_file), "depth": str(depth_file)}
    refused(network_file, {"depth": str(depth_file)}, "without its memory banks", "setting banks=")
    refused(network_file, {"banks": str(banks_file)}, "setting depth=dpt_next_vit_large_384.pt")
    refused(banks_file, given, "memory banks", "load the network's file")
    refused(network_file, given | {"colour": "1"}, "setting colour=1: dmdnet has no such setting")
    refused(network_file, given | {"memory": "maybe"}, "memory=maybe", "on or off")
    refused(network_file, given | {"banks": str(network_file)}, "not a memory banks file")
    refused(network_file, given | {"banks": str(tmp_path / "none.pt")}, "none.pt", "no such")
    refused(network_file, given | {"depth": str(banks_file)}, "not the depth network", "MiDaS v3.1")
    refused(network_file, given | {"depth": "download", "depth_sha256": "12"}, "64 hexadecimal digits")
    refused("dmdnet", {}, "model_latest.pt", "memory_banks_latest.pt")
    refused("dmdnett", {}, "did you mean")

    other = {key: [bank[:3, :3] for bank in value] for key, value in torch.load(banks_file).items()}
    torch.save(other, tmp_path / "other.pt")
    refused(network_file, given | {"banks": str(tmp_path / "other.pt")}, "same training", "memory_level1_T")
    fewer = {key: value for key, value in torch.load(banks_file).items() if key != "memory_DS4_R2"}
    torch.save(fewer, tmp_path / "fewer.pt")
    refused(network_file, given | {"banks": str(tmp_path / "fewer.pt")}, "'memory_DS4_R2' is missing")

    checkpoint = torch.load(network_file)
    del checkpoint["network"]["module.out.seq.0.bias"]
    torch.save(checkpoint, tmp_path / "cut.pt")
    refused(tmp_path / "cut.pt", given, "missing: out.seq.0.bias")


def test_depth_file_of_another_model_is_refused(depth_file, tmp_path):
    state = torch.load(depth_file)["model"]
    state.pop("scratch.layer4_rn.weight")
    torch.save(state, tmp_path / "cut.pt")
    with pytest.raises(ModelError, match="layer4_rn"):
        load_depth_network(tmp_path / "cut.pt")
    state = {key: value for key, value in torch.load(depth_file)["model"].items() if key not in UNUSED_SHAPES}
    torch.save(state, tmp_path / "trimmed.pt")
    with pytest.raises(ModelError, match="missing"):
        load_depth_network(tmp_path / "trimmed.pt")


def test_depth_network_never_leaves_eval_mode():
    with torch.device("meta"):
        network = DepthNetwork()
    assert not any(module.training for module in network.train().modules())


def test_separator_runs_it_whole_and_refuses_what_is_not_finite(official, depth_file):
    network_file, banks_file, _ = official
    separate = load(
        str(network_file),
        options={"banks": str(banks_file), "depth": str(depth_file)},
        device="cpu",
        dtype="float32",
    )
    photo = (np.random.default_rng(0).random((40, 50, 3)) * 255).astype(np.uint8)
    done = separate(photo)
    assert np.asarray(done.transmission).shape == photo.shape
    method, _ = load_method(network_file, {"banks": str(banks_file), "depth": str(depth_file)})
    bad = torch.rand(1, 3, 32, 32)
    bad[0, 1, 5, 6] = torch.nan
    with pytest.raises(InputError, match="not finite"):
        method(bad)
    with pytest.raises(InputError, match="17"):
        method(torch.rand(1, 3, 16, 40))


def test_bfloat16_is_close_with_forced_orders(official, depth_file):
    network_file, banks_file, _ = official
    method, _ = load_method(network_file, {"banks": str(banks_file), "depth": str(depth_file)})
    image = torch.rand(1, 3, 64, 64)
    book = OrderBook()
    full = method(image, orders=book)
    low = method.prepare(torch.device("cpu"), torch.bfloat16)(image, orders=forced(book))
    for wide, narrow in zip(full, low, strict=True):
        assert narrow.dtype == torch.float32
        assert (wide - narrow).abs().mean() < wide.std() * 0.05


def test_depth_command_writes_both_pictures(depth_file, tmp_path):
    photo = tmp_path / "window.png"
    Image.fromarray((np.random.default_rng(0).random((50, 70, 3)) * 255).astype(np.uint8)).save(photo)
    arguments = ["depth", str(photo), "--weights", str(depth_file), "--device", "cpu"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    gray, colour = (Image.open(tmp_path / f"window.{kind}.png") for kind in ("depth", "depth-colour"))
    assert gray.size == colour.size == (70, 50)
    levels = np.asarray(gray)
    assert levels.min() == 0
    assert levels.max() == 65535
    assert colour.mode == "RGB"
    with pytest.raises(InputError, match="overwrite"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)

"""Larger networks as ONNX files, and the published convolutional methods: they give what torch gives."""

import sys
from pathlib import Path

import pytest
import torch
from test_onnx import ODD_SIZES, assert_same_layers, small_default

from dereflect.catalog import load_method
from dereflect.export.writing import export
from dereflect.methods.dsrnet.method import DSRNetMethod
from dereflect.methods.rdnet.method import RDNetMethod
from dereflect.methods.ytmt.config import NAMED, YtmtConfig
from dereflect.methods.ytmt.method import YtmtMethod
from dereflect.nn.vgg import Vgg19

METHODS = Path(__file__).parents[1] / "methods"
pytestmark = pytest.mark.slow


def vgg() -> Vgg19:
    torch.manual_seed(3)
    network = Vgg19()
    for parameter in network.parameters():
        parameter.data.mul_(2)  # PyTorch's default weights let signals fade within a few layers
    return network


def small_ytmt(name: str) -> YtmtMethod:
    torch.manual_seed(1)
    return YtmtMethod(YtmtConfig(**{**NAMED[name].__dict__, "width": 8}), vgg()).eval()


def small_dsrnet() -> DSRNetMethod:
    sys.path.append(str(METHODS / "dsrnet"))
    from small_dsrnet import SMALL, small_dsrnet

    method = DSRNetMethod(SMALL, vgg())
    method.network = small_dsrnet()
    return method.eval()


def small_rdnet() -> RDNetMethod:
    sys.path.append(str(METHODS / "rdnet"))
    from tiny_rdnet import tiny_config, tiny_network

    method = RDNetMethod(tiny_config())
    method.network = tiny_network()
    return method.eval()


MAKERS = {
    "ytmt-uas": lambda: small_ytmt("uas"),
    "ytmt-uct_old": lambda: small_ytmt("uct_old"),
    "dsrnet": small_dsrnet,
    "rdnet": small_rdnet,
}


@pytest.mark.parametrize("name", MAKERS)
def test_the_file_of_a_method_gives_what_torch_gives(name, tmp_path):
    method = MAKERS[name]()
    said = export(method, tmp_path / "small.onnx", name=name, weights="float32")
    assert said.description.family == method.family
    assert said.largest < 1e-4
    for size in ((65, 97), (101, 67)):
        assert_same_layers(method, tmp_path / "small.onnx", size)


OPTIONS = {
    "everything": {"encoder": "lite2", "tone": True, "remainder": True, "detail_width": 4},
    "two encoders": {"encoder": "open_nsfw", "second_encoder": "lite2"},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_of_the_default_network_can_be_exported(name, tmp_path):
    method = small_default(**OPTIONS[name])
    said = export(method, tmp_path / "small.onnx", name="small", weights="float32")
    assert said.largest < 1e-4
    assert_same_layers(method, tmp_path / "small.onnx", (65, 97))


def test_the_embedded_model_can_be_exported_and_loses_nothing(tmp_path):
    method, _ = load_method("default")
    said = export(method, tmp_path / "default.onnx", name="default")
    assert said.description.weights == "float16"
    assert (said.largest < 1e-4, said.megabytes < 30) == (True, True)
    for size in ODD_SIZES:
        assert_same_layers(method, tmp_path / "default.onnx", size)

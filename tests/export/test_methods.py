"""The published convolutional methods as ONNX files: what they give is what torch gives."""

import pytest
import torch
from test_onnx import assert_same_layers

from dereflect.export.writing import export
from dereflect.methods.ytmt.config import NAMED, YtmtConfig
from dereflect.methods.ytmt.method import YtmtMethod
from dereflect.nn.vgg import Vgg19

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


MAKERS = {
    "ytmt-uas": lambda: small_ytmt("uas"),
    "ytmt-uct_old": lambda: small_ytmt("uct_old"),
}


@pytest.mark.parametrize("name", MAKERS)
def test_the_file_of_a_method_gives_what_torch_gives(name, tmp_path):
    method = MAKERS[name]()
    said = export(method, tmp_path / "small.onnx", name=name, weights="float32")
    assert said.description.family == method.family
    assert said.largest < 1e-4
    for size in ((65, 97), (101, 67)):
        assert_same_layers(method, tmp_path / "small.onnx", size)

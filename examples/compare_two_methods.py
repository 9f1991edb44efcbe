"""Compare two models on pairs: folders `blended/` and `transmission_layer/` with the same names.

    python examples/compare_two_methods.py pairs/ default runs/mine/export

For papers, with protocols, intervals and tables: `dereflect evaluate` (docs/evaluate.md).
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

import dereflect
from dereflect.data.pairs import read_pairs
from dereflect.evaluation.metrics import psnr, ssim


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare two models on pairs.")
    parser.add_argument("pairs", type=Path, help="folder that holds blended/ and transmission_layer/")
    parser.add_argument("models", nargs=2, help="names, folders or checkpoint files")
    options = parser.parse_args()

    photos = read_pairs(options.pairs)
    truths = [read(pair.transmission) for pair in photos]
    results = {"photo itself": [read(pair.blended) for pair in photos]}
    for model in options.models:
        separator = dereflect.load(model)
        results[model] = [separator(pair.blended).to_numpy()[0] for pair in photos]
    print(f"{'':30}{'PSNR':>8}{'SSIM':>8}   over {len(photos)} pairs")
    for name, pictures in results.items():
        pairs = list(zip(pictures, truths, strict=True))
        quality = np.mean([psnr(picture, truth) for picture, truth in pairs])
        likeness = np.mean([ssim(picture, truth) for picture, truth in pairs])
        print(f"{name[-30:]:30}{quality:8.2f}{likeness:8.4f}")


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


if __name__ == "__main__":
    main()

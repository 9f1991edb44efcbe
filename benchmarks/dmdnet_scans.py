"""A small ablation: scan orders and learned ordering of a tiny DMDNet, with several seeds.

    python benchmarks/dmdnet_scans.py [--steps 300] [--seeds 1 2 3] [--variants published ...]

Trains on 64x64 mixtures of drawn pictures with a stand-in for the depth network, and reports the PSNR of
the transmission on mixtures never trained on: mean and standard deviation over the seeds. Numbers at this
size rank nothing by themselves; they show that the switches work, and how far apart seeds lie.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "methods" / "dmdnet"))

import tiny_training as tiny

from dereflect.methods.dmdnet import objective
from dereflect.training.trainer import prepare

VARIANTS = {
    "published": {},
    "regional both": {"reflection_scan": "regional"},
    "global both": {"transmission_scan": "global"},
    "raster both": {"transmission_scan": "raster", "reflection_scan": "raster"},
    "learned ordering": {"ordering": "learned"},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    options = parser.parse_args()
    objective.load_depth_network = lambda path: tiny.StandInDepth()
    objective.DMDNetObjective.export = lambda self, folder: None
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        tiny.draw_folder(folder / "train", 60, seed=1)
        tiny.draw_folder(folder / "unseen", 24, seed=2)
        for variant in options.variants:
            results = []
            for seed in options.seeds:
                output = folder / f"{variant}-{seed}"
                recipe = tiny.tiny_recipe(
                    folder / "train", output, options.steps, seed=seed, **VARIANTS[variant]
                )
                trainer = prepare(recipe)
                trainer.run()
                network = trainer.objective.plain("separator")
                before, after = tiny.held_out_psnr(network, tiny.StandInDepth(), folder / "unseen")
                results.append(after)
                print(f"  {variant}, seed {seed}: {after:.2f} dB", flush=True)
            spread = statistics.stdev(results) if len(results) > 1 else 0.0
            print(
                f"{variant}: {statistics.mean(results):.2f} +- {spread:.2f} dB after {options.steps} steps "
                f"(the mixture itself: {before:.2f}), {torch.get_num_threads()} threads",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""A small ablation: scan orders and learned ordering of a tiny DMDNet, with several seeds.

    python benchmarks/dmdnet_scans.py [--steps 300] [--seeds 1 2 3] [--variants published ...]

Trains on 64x64 mixtures of drawn pictures with a stand-in for the depth network, and reports the PSNR of
both layers on mixtures never trained on: mean and standard deviation over the seeds. Numbers at this
size rank nothing by themselves; they show that the switches work, and how far apart seeds lie.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "methods" / "dmdnet"))

import tiny_training as tiny
from measured import add_option, record

from dereflect.cli.scripts import run_script
from dereflect.methods.dmdnet import objective
from dereflect.training.trainer import prepare

UNSEEN_MIXTURES = 48

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
    add_option(parser, "dmdnet.scans")
    options = parser.parse_args()
    objective.load_depth_network = lambda path: tiny.StandInDepth()
    objective.DMDNetObjective.export = lambda self, folder: None
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        tiny.draw_folder(folder / "train", 60, seed=1)
        tiny.draw_folder(folder / "unseen", 24, seed=2)
        found = {variant: ([], []) for variant in options.variants}
        for seed in options.seeds:  # seed by seed, so that an early end leaves whole comparisons
            for variant in options.variants:
                layers = train_and_test(folder, variant, seed, options.steps)
                for kept, value in zip(found[variant], layers, strict=True):
                    kept.append(value)
        for variant, layers in found.items():
            print(f"{variant}: T {summary(layers[0])}, R {summary(layers[1])} after {options.steps} steps")
        rows = [row(variant, *layers) for variant, layers in found.items()]
    record(options, {"steps": options.steps, "rows": rows})


def train_and_test(folder, variant, seed, steps):
    """PSNR of T and of R on unseen mixtures after a short training."""
    output = folder / f"{variant}-{seed}"
    trainer = prepare(tiny.tiny_recipe(folder / "train", output, steps, seed=seed, **VARIANTS[variant]))
    start = time.process_time()
    trainer.run()
    used = time.process_time() - start
    network = trainer.objective.plain("separator")
    before, after = tiny.held_out_layers(network, tiny.StandInDepth(), folder / "unseen", UNSEEN_MIXTURES)
    print(
        f"  {variant}, seed {seed}: T {after[0]:.2f}, R {after[1]:.2f} dB "
        f"(mixture: {before[0]:.2f}, {before[1]:.2f}), {used:.0f} processor seconds",
        flush=True,
    )
    return after


def row(variant, transmissions, reflections):
    """What `--record` keeps of one variant."""
    kept = {"variant": variant}
    for name, values in (("t", transmissions), ("r", reflections)):
        kept |= {f"{name}{index}": round(value, 2) for index, value in enumerate(values)}
        kept[name] = round(statistics.mean(values), 2)
        kept[f"{name}_spread"] = round(statistics.stdev(values), 2) if len(values) > 1 else 0.0
    return kept


def summary(values):
    """Mean and standard deviation."""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.2f} +- {spread:.2f} dB"


if __name__ == "__main__":
    run_script(main)

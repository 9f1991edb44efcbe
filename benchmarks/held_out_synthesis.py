"""What a model gains on synthetic photos of scenes that the default model never saw, effect by effect.

    python benchmarks/held_out_synthesis.py PHOTOS [--model default] [--pictures 120] [--seen]

PHOTOS is the folder of ordinary photos that training read; only the held-out twentieth of it is used
(`dereflect.data.crops.held_out`). With `--seen` it is as many photos that training did read: what they
gain above the others hints at what the model has learned by heart. They are other photos, so small
differences say nothing. Each row sets one effect of `GlassMix` and leaves the rest at its defaults.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from measured import add_option, record

import dereflect
from dereflect.cli.scripts import run_script
from dereflect.data.crops import decode, held_out, list_pictures, random_crop
from dereflect.data.glass import GlassMix, draw, render, stack
from dereflect.data.glass.mix import SCENES
from dereflect.data.glass.pages import page
from dereflect.errors import InputError
from dereflect.images.fidelity import unit_psnr

PLAIN = GlassMix(identity=0.0)
ROWS = {
    "mix of all": PLAIN,
    **{f"scene: {kind}": replace(PLAIN, **{name: float(name == kind) for name in SCENES}) for kind in SCENES},
    "display values add": replace(PLAIN, additive=1),
    "light adds": replace(PLAIN, additive=0),
    "strong reflections": replace(PLAIN, strong=1),
    "sharp reflections": replace(PLAIN, sharp=1),
    "blurred reflections": replace(PLAIN, sharp=0),
    "part of the picture": replace(PLAIN, regional=1),
    "ghosted": replace(PLAIN, ghost=1),
    "lamps": replace(PLAIN, lamps=1),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--pictures", type=int, default=120)
    parser.add_argument("--side", type=int, default=352)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seen", action="store_true", help="photos that training read")
    add_option(parser, "default.held_out_synthesis")
    options = parser.parse_args()
    table = []
    separator = dereflect.load(options.model)
    photos = [decode(path, 480) for path in choose(list_pictures(options.photos), options.seen)]
    print(
        f"{options.pictures} pictures of {options.side} pixels a row, from {len(photos)} photos, "
        f"seed {options.seed}"
    )
    print(f"{'':22s} {'input T':>8s} {'T':>7s} {'gain':>7s} {'better':>7s} {'R':>7s}")
    for name, mix in ROWS.items():
        scores = []
        for index in range(options.pictures):
            rng = np.random.default_rng((options.seed, index))
            scene, mirrored = (photos[int(i)] for i in rng.choice(len(photos), 2, replace=False))
            numbers = draw(mix, rng)
            if SCENES[int(numbers.scene[0])] == "page":
                scene = page(scene, rng)
            crops = [random_crop([photo], options.side, rng)[0] for photo in (scene, mirrored)]
            torch.manual_seed(index)
            glass = render(crops[0][None], crops[1][None], stack([numbers]))
            found_t, found_r = separator.tensors(glass.blended[0])
            before = unit_psnr(glass.blended[0], glass.transmission[0])
            after = unit_psnr(found_t, glass.transmission[0])
            scores.append((before, after, float(after > before), unit_psnr(found_r, glass.reflection[0])))
        before, after, better, reflection = np.mean(scores, axis=0)
        table.append({"effect": name, "gain": round(float(after - before), 2)})
        print(
            f"{name:22s} {before:8.2f} {after:7.2f} {after - before:+7.2f} {better:7.0%} {reflection:7.2f}",
            flush=True,
        )
    values = {"pictures": options.pictures, "side": options.side, "rows": table}
    record(options, values, separator.running, part=".seen" if options.seen else "")


def choose(paths: list[Path], seen: bool) -> list[Path]:
    """The held-out photos, or as many at even distances of the others."""
    held = [path for path in paths if held_out(path, 20)]
    chosen = held
    if seen:
        read = [path for path in paths if not held_out(path, 20)]
        chosen = [read[index * len(read) // len(held)] for index in range(min(len(held), len(read)))]
    if len(chosen) < 2:
        kind = "others beside as many held-out ones" if seen else "held-out photos"
        raise InputError(paths[0].parent, f"holds {len(chosen)} {kind}; a picture takes two")
    return chosen


if __name__ == "__main__":
    run_script(main)

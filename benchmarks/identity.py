"""How much a model changes photos that were not taken through glass: it should leave them alone.

    python benchmarks/identity.py FOLDER [--model default] [--held-out-every 20] [--at-most 100]

Prints the mean absolute difference between photo and transmission in 8-bit levels (of 255): its mean over
photos, its median and its worst, through the same path as `dereflect separate`. With --held-out-every only
photos whose name's CRC-32 is divisible by that number count: the part that the default model's recipe never
trains on.
"""

import argparse
from pathlib import Path

import numpy as np
from measured import add_option, record

import dereflect
from dereflect.cli.scripts import run_script
from dereflect.data.crops import held_out, list_pictures
from dereflect.errors import InputError


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--held-out-every", type=int, default=0)
    parser.add_argument("--at-most", type=int, default=100)
    add_option(parser, "default.identity")
    arguments = parser.parse_args()
    every = arguments.held_out_every
    paths = [path for path in list_pictures(arguments.folder) if not every or held_out(path, every)]
    if not paths:
        raise InputError(arguments.folder, f"no photo's name has a CRC-32 divisible by {every}")
    paths = paths[: arguments.at_most]
    separator = dereflect.load(arguments.model)
    changes = []
    for path in paths:
        result = separator(path)
        photo = np.asarray(result.blended, dtype=np.float32)
        scene = np.asarray(result.transmission, dtype=np.float32)
        changes.append(float(np.abs(photo - scene).mean()))
    worst = int(np.argmax(changes))
    print(
        f"{len(paths)} photos: mean change {np.mean(changes):.2f}/255, median {np.median(changes):.2f}, "
        f"worst {changes[worst]:.2f} ({paths[worst].name})"
    )
    found = {"mean": np.mean(changes), "median": np.median(changes), "worst": changes[worst]}
    values = {key: round(float(value), 2) for key, value in found.items()}
    record(arguments, {"photos": len(paths)} | values, separator.running)


if __name__ == "__main__":
    run_script(main)

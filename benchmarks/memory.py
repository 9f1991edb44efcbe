"""Memory of whole runs: a large photo's peak, and whether many photos leave anything behind.

    python benchmarks/memory.py [--model default] [--megapixels 24] [--photos 300] [--format jpg]

Each measurement runs in a process of its own. The ratio printed is against the limit that the project
promises: a peak of 2.5 GB for a 24-megapixel photo, and 100 MB of growth between photo 20 and photo 300.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measured import add_option, record
from PIL import Image

from dereflect.cli.scripts import run_script

PEAK_LIMIT, GROWTH_LIMIT = 2500.0, 100.0


def resident() -> float:
    """Megabytes in memory now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    raise SystemExit("needs Linux: /proc/self/status")


def peak() -> float:
    """Megabytes in memory at most so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1000
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def photo(path: Path, width: int, height: int, seed: int) -> None:
    """A picture with large shapes and grain, like a photo to every part of the program."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (12, 18, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    grain = generator.integers(-6, 7, (height, width, 1), dtype=np.int8)
    Image.fromarray((smooth.astype(np.int16) + grain).clip(0, 255).astype(np.uint8)).save(path, quality=95)


def large(model: str, path: Path, out: Path, queue: multiprocessing.Queue) -> None:
    import torch  # what torch alone takes is part of the peak, and printed beside it

    bare = resident()
    import dereflect

    separator = dereflect.load(model)
    started = time.perf_counter()
    result = separator(path)
    separated = time.perf_counter() - started
    result.save(out)
    queue.put(
        (
            bare,
            peak(),
            separated,
            time.perf_counter() - started,
            result.how,
            result.device,
            torch.get_num_threads(),
        )
    )


def many(model: str, folder: Path, out: Path, queue: multiprocessing.Queue) -> None:
    import dereflect

    separator = dereflect.load(model)
    at: dict[int, float] = {}
    for number, path in enumerate(sorted(folder.iterdir()), start=1):
        separator(path).save(out)
        if number % 20 == 0:
            at[number] = resident()
    queue.put(at)


def measured(work, *words):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=work, args=(*words, queue))
    process.start()
    result = queue.get()
    process.join()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="default")
    parser.add_argument("--megapixels", type=float, default=24.0)
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--format", default="jpg", choices=["jpg", "png"])
    add_option(parser, "default.large")
    options = parser.parse_args()
    values: dict[str, float] = {}
    if sys.platform != "linux":
        raise SystemExit("needs Linux")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.megapixels:
            height = round((options.megapixels * 1e6 / 1.5) ** 0.5)
            photo(folder / f"large.{options.format}", round(height * 1.5), height, 0)
            bare, top, separated, seconds, how, device, threads = measured(
                large, options.model, folder / f"large.{options.format}", folder / "out"
            )
            print(f"{options.megapixels:g} megapixels, {options.format}, {how}, {device}, {threads} threads")
            values |= {"megapixels": options.megapixels, "megabytes": round(top)}
            values |= {"seconds": round(separated, 1), "with_writing": round(seconds, 1)}
            print(f"  torch alone {bare:.0f} MB, peak {top:.0f} MB = {top / PEAK_LIMIT:.2f} of the limit")
            print(f"  {separated:.1f} s to read and separate, {seconds:.1f} s with writing")
        if options.photos:
            (folder / "many").mkdir()
            for index in range(options.photos):
                photo(
                    folder / "many" / f"{index:04}.jpg", 320 + index * 37 % 400, 240 + index * 53 % 300, index
                )
            at = measured(many, options.model, folder / "many", folder / "out")
            first, last = min(at), max(at)
            growth = at[last] - at[first]
            values |= {"photos": options.photos, "growth": round(growth)}
            course = ", ".join(f"{number}: {size:.0f}" for number, size in at.items())
            print(f"{options.photos} photos of changing sizes: {course} MB")
            print(f"  {first} to {last}: {growth:+.0f} MB = {growth / GROWTH_LIMIT:.2f} of limit")
    record(options, values)


if __name__ == "__main__":
    run_script(main)

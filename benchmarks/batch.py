"""What a photo costs in a batch: one worker on one core, reading, encoding and writing both layers included.

    python benchmarks/batch.py [--sizes 640x480 4000x3000] [--photos 24] [--model default] [--cores 1]

Takes `examples/cafe.jpg` in each size, as JPEG, from one folder to another. Loading the model and the first
photo are not counted: a worker does thousands. Prints wall and processor time; on a quiet machine they agree.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import torch
from measured import add_option, record
from PIL import Image

from dereflect.batch import BatchJob
from dereflect.batch.plan import BatchPhoto
from dereflect.batch.store import Store
from dereflect.batch.work import Worker
from dereflect.cli.scripts import run_script

CAFE = Path(__file__).parents[1] / "examples" / "cafe.jpg"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["640x480", "4000x3000"])
    parser.add_argument("--photos", type=int, default=24)
    parser.add_argument("--model", default="default")
    parser.add_argument("--cores", type=int, default=1)
    add_option(parser, "batch.throughput")
    options = parser.parse_args()
    table = []
    if hasattr(os, "sched_setaffinity"):  # reading and writing threads share the worker's core
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    torch.set_num_threads(options.cores)
    print(f"{'photo':>12}{'wall s':>9}{'core-s':>9}{'photos an hour':>16}   {options.cores} core(s)")
    for size in options.sizes:
        width, _, height = size.partition("x")
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "in"
            source.mkdir()
            picture = Image.open(CAFE).resize((int(width), int(height)), Image.Resampling.LANCZOS)
            for index in range(options.photos + 1):
                picture.save(source / f"{index:03d}.jpg", quality=92)
            worker = Worker(BatchJob(str(source), f"{folder}/out", options.model))
            todo = [BatchPhoto(e.path, e.size, e.version, True) for e in Store(source).entries("").values()]
            list(worker.work(todo[:1]))
            wall, spent = time.perf_counter(), time.process_time()
            rows = list(worker.work(todo[1:]))
            wall, spent = time.perf_counter() - wall, time.process_time() - spent
        assert [row["state"] for row in rows] == ["done"] * options.photos
        each = wall / options.photos
        table.append(
            {
                "photo": f"{width} x {height}",
                "seconds": round(each, 3),
                "core_seconds": round(spent / options.photos, 3),
                "photos_an_hour": round(3600 / each),
            }
        )
        print(f"{size:>12}{each:9.3f}{spent / options.photos:9.3f}{3600 / each:16,.0f}", flush=True)
    record(options, {"rows": table}, worker.separator.running)
    print(f"{worker.separator.running}; load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    run_script(main)

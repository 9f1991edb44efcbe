"""Memory of `dereflect video` against the film's length.

    python benchmarks/video_memory.py [--frames 100 800] [--size 160x120] [--model default]

Makes films of noise that moves, converts each by the command line in a process of its own, and prints the
most memory that the process held and the number of frames that came out.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import cv2
import numpy as np
from measured import add_option, record

from dereflect.cli.scripts import run_script


def shoot(path: Path, frames: int, width: int, height: int) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (height // 8, width // 4, 3), dtype=np.uint8)
    photo = cv2.resize(photo, (2 * width, height), interpolation=cv2.INTER_CUBIC)
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(frames):
            left = round(width / 2 + width / 2 * np.sin(index / 40))
            picture = np.ascontiguousarray(photo[:, left : left + width])
            film.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        film.mux(stream.encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[100, 800], help="in ascending order")
    parser.add_argument("--size", default="160x120")
    parser.add_argument("--model", default="default")
    add_option(parser, "video.memory")
    options = parser.parse_args()
    table = []
    width, _, height = options.size.partition("x")
    for frames in options.frames:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "in.mp4", Path(folder) / "out.mp4"
            shoot(source, frames, int(width), int(height))
            started = time.perf_counter()
            words = ["video", str(source), str(target), "--model", options.model, "--quiet"]
            subprocess.run([sys.executable, "-m", "dereflect", *words], check=True)
            seconds = time.perf_counter() - started
            with av.open(str(target)) as film:
                written = sum(1 for _ in film.decode(video=0))
        most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3  # of the largest child so far
        table.append({"frames": frames, "megabytes": round(most)})
        print(
            f"{frames} frames in, {written} out: {most:.0f} MB, {frames / seconds:.1f} a second", flush=True
        )
    record(options, {"size": options.size, "rows": table})


if __name__ == "__main__":
    run_script(main)

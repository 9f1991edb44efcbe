"""The exported file by onnxruntime against torch, in one run: seconds and memory.

    python benchmarks/onnx_speed.py [MODEL] [--sizes 256 512] [--repeats 5] [--record]

Every measurement runs in a process of its own on the same picture, whole, through the method alone: torch in
float32 and in what the machine takes by itself, onnxruntime in float32 with weights in float16 and in 8 bit,
and in float16. Seconds are the median of the repeats of processor time, after one run to warm up; wall time
is beside it. Memory is the process's peak, weights and libraries included. Differences are to torch in
float32, in levels of 255. (The file is not called onnx.py, which would hide the package of that name.)
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import measured

FORMS = {
    "torch": ("", "float32"),
    "torch, auto": ("", "auto"),
    "onnxruntime": ("float32", "auto"),
    "onnxruntime, 8-bit weights": ("float32", "int8"),
    "onnxruntime, float16": ("float16", "auto"),
}
"""For torch nothing and its number format; for a file, what it computes in and how its weights are stored."""


def measure(model: str, dtype: str, size: int, repeats: int, result: str) -> dict[str, Any]:
    """One form at one size, in this process; the layers go to the file `result`."""
    import torch

    import dereflect
    from dereflect.evaluation.cost import peak_resident
    from dereflect.export.writing import made_picture

    separator = dereflect.load(model, device="cpu", dtype=dtype)
    picture = made_picture(size, size, 5)
    walls, processors = [], []
    with torch.inference_mode():
        for _ in range(repeats + 1):
            wall, processor = time.perf_counter(), time.process_time()
            layers = separator.method(picture)
            walls.append(time.perf_counter() - wall)
            processors.append(time.process_time() - processor)
    torch.save([layer.clamp(0, 1) for layer in layers], result)
    return {
        "seconds": statistics.median(processors[1:]),
        "wall": statistics.median(walls[1:]),
        "mebibytes": round((peak_resident() or 0) / 2**20),
        "dtype": str(separator.dtype).removeprefix("torch."),
    }


def apart(*request: object) -> dict[str, Any]:
    """`measure` in a process of its own."""
    command = [
        sys.executable,
        __file__,
        "--child",
        json.dumps([str(r) if isinstance(r, Path) else r for r in request]),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def write_files(model: str, folder: Path) -> dict[str, Path]:
    """A file for each form that needs one; those that are there already are taken."""
    from dereflect.catalog import load_method
    from dereflect.export.writing import export

    files = {}
    for form, (dtype, weights) in FORMS.items():
        if dtype:
            files[form] = folder / f"{dtype}-{weights}.onnx"
            if not files[form].is_file():
                export(load_method(model)[0], files[form], name=model, dtype=dtype, weights=weights)
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", nargs="?", default="default")
    parser.add_argument("--sizes", nargs="+", type=int, default=[256, 512])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to keep the exported files; without, nowhere")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    measured.add_option(parser, "onnx.speed")
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(*json.loads(options.child))))
        return
    import torch

    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        files = write_files(options.model, options.folder or folder)
        for size in options.sizes:
            base: dict[str, Any] = {}
            for form, (_, dtype) in FORMS.items():
                source, kind = (files[form], "auto") if form in files else (options.model, dtype)
                found = apart(source, kind, size, options.repeats, folder / "layers")
                layers = torch.load(folder / "layers")
                base = base or {**found, "layers": layers}
                difference = [abs(a - b) for a, b in zip(layers, base["layers"], strict=True)]
                row = {
                    "form": form,
                    "size": size,
                    "file": f"{files[form].stat().st_size / 1e6:.1f} MB" if form in files else None,
                    **{key: float(f"{found[key]:.3g}") for key in ("seconds", "wall")},
                    "mebibytes": found["mebibytes"],
                    "dtype": found["dtype"],
                    "times": float(f"{found['seconds'] / base['seconds']:.3g}"),
                    "mean": float(f"{255 * sum(float(d.mean()) for d in difference) / 2:.2g}"),
                    "largest": float(f"{255 * max(float(d.max()) for d in difference):.2g}"),
                }
                rows.append(row)
                print(json.dumps(row), flush=True)
    measured.record(options, {"rows": rows})


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before dereflect sets it to a container's quota
    from dereflect.cli.scripts import run_script

    run_script(main)

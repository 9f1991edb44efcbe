"""Seconds and peak memory of one photo by every model of the catalog, with weights of random numbers.

    python benchmarks/costs.py [--models dsit rdnet] [--megapixels 0.25 1] [--record]

Neither time nor memory depends on what weights are trained to; each model has its published size. Every
measurement runs in a process of its own, through the Separator, as a person's photo of that size would: whole
up to the model's working size, else fitted. Seconds are processor time of one thread, which other work on
the machine distorts least; on an idle machine, that is the wall clock. Memory is the process's peak,
weights and libraries included. A model that takes longer than ``--limit`` is left out, with the reason.

With --record the rows of the measured models replace those in docs/measured.json, and what the cards show is
copied into the package (src/dereflect/methods/costs.json).
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import measured

PACKAGED = measured.ROOT / "src" / "dereflect" / "methods" / "costs.json"
SHOWN_AT = 1.0
"""Megapixels of the photo whose cost the cards show."""


def default() -> Any:
    from dereflect.catalog import load_method

    return load_method("default")[0]


def ytmt() -> Any:
    import torch
    from ytmt import system

    from dereflect.methods.ytmt.config import NAMED
    from dereflect.methods.ytmt.method import YtmtMethod

    with torch.no_grad():
        made = system("uct")
        method = YtmtMethod(NAMED["uct"], made.vgg)
    method.system = made
    return method.eval()


def dsit() -> Any:
    from published import without_zeros

    from dereflect.methods.dsit.config import DSITConfig
    from dereflect.methods.dsit.method import DSITMethod

    return without_zeros(DSITMethod(DSITConfig()))


def dsrnet() -> Any:
    from published import without_zeros

    from dereflect.methods.dsrnet.config import DSRNetConfig
    from dereflect.methods.dsrnet.method import DSRNetMethod
    from dereflect.nn.vgg import Vgg19

    return without_zeros(DSRNetMethod(DSRNetConfig(), Vgg19()))


def rdnet() -> Any:
    from published import without_zeros

    from dereflect.methods.rdnet.config import RDNetConfig
    from dereflect.methods.rdnet.method import RDNetMethod

    return without_zeros(RDNetMethod(RDNetConfig()))


def dmdnet() -> Any:
    import torch
    from dmdnet import build

    with torch.no_grad():
        return build()


def diffrs() -> Any:
    import torch
    from diffrs import make_unet
    from diffrs_parts import base_scheduler, open_gains
    from diffusers import AutoencoderKL

    from dereflect.methods.diffrs.fusion import FidelityFusion
    from dereflect.methods.diffrs.method import DiffRSMethod
    from dereflect.methods.diffrs.pipeline import DiffRSPipeline
    from dereflect.methods.diffrs.prompts import PromptEmbeddings
    from dereflect.methods.diffrs.settings import DiffRSSettings
    from dereflect.methods.diffrs.synthesis import LatentSynthesis

    widths = (128, 256, 512, 512)
    pipeline = DiffRSPipeline(
        unet=make_unet("full"),
        vae=AutoencoderKL(
            block_out_channels=widths,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
        ),
        synthesis=open_gains(LatentSynthesis()),
        prompts=PromptEmbeddings.of(torch.randn(1, 77, 1024), torch.randn(1, 77, 1024)),
        scheduler=base_scheduler(),
        fusion=FidelityFusion.for_autoencoder(widths),
    )
    return DiffRSMethod(pipeline.to("cpu"), DiffRSSettings(steps=STEPS["diffrs"][0]))


STEPS = {"diffrs": (6, 50)}
"""Of models that work in many steps: how many are measured, and how many a run takes, whose cost is shown.
DiffRS optimises in every fifth step: six are the first and one period."""
MODELS: dict[str, Callable[[], Any]] = {
    "default": default,
    "ytmt": ytmt,
    "dsit": dsit,
    "dsrnet": dsrnet,
    "rdnet": rdnet,
    "dmdnet": dmdnet,
    "diffrs": diffrs,
}
"""A further model adds its function here. WindowSeat needs 44 GB: its card says so in words."""


def measure(model: str, megapixels: float, dtype: str) -> dict[str, Any]:
    """One separation in this process."""
    import torch

    from dereflect.evaluation.cost import peak_resident
    from dereflect.evaluation.speed import made_photo
    from dereflect.separator import Separator

    torch.manual_seed(7)
    separator = Separator(MODELS[model](), name=model, device="cpu", dtype=dtype)
    photo = made_photo(megapixels)
    measured_steps, all_steps = STEPS.get(model, (0, 0))
    if not all_steps:
        separator(photo[:64, :64])  # what is compiled or built once is none of a photo's cost
    marks = []
    wall, processor = time.perf_counter(), time.process_time()
    result = separator(
        photo, progress=lambda done, of: marks.append((time.process_time(), time.perf_counter()))
    )
    ended, ended_wall = time.process_time(), time.perf_counter()
    if all_steps:  # those that were left out take as long as the mean of all but the first
        more = (all_steps - measured_steps) / (measured_steps - 1)
        ended, ended_wall = (
            end + more * (last - first)
            for end, last, first in zip((ended, ended_wall), marks[-1], marks[0], strict=True)
        )
    return {
        "model": model,
        "megapixels": megapixels,
        "photo": f"{photo.shape[1]} x {photo.shape[0]}",
        "seconds": float(f"{ended - processor:.3g}"),
        "wall": float(f"{ended_wall - wall:.3g}"),
        "mebibytes": round((peak_resident() or 0) / 2**20),
        "dtype": str(separator.dtype).removeprefix("torch."),
        "how": result.how,
        "machine": measured.processor().partition(", load")[0],
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        "steps": f", from {measured_steps} of {all_steps} steps" if all_steps else "",
    }


def apart(model: str, megapixels: float, options: argparse.Namespace) -> dict[str, Any]:
    """`measure` in a process of its own."""
    request = json.dumps([model, megapixels, options.dtype])
    command = [sys.executable, __file__, "--child", request]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=options.limit)
    except subprocess.TimeoutExpired:
        return {"model": model, "megapixels": megapixels, "reason": f"longer than {options.limit:.0f} s"}
    if done.returncode:
        return {"model": model, "megapixels": megapixels, "reason": (done.stderr.splitlines() or ["?"])[-1]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def keep(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """Put the rows in the place of the same models' and sizes', here and in the package."""
    old = measured.read().get(options.record or "", {}).get("values", {}).get("rows", [])
    new = {(row["model"], row["megapixels"]): row for row in (*old, *rows) if "seconds" in row}
    order = sorted(new.values(), key=lambda row: (list(MODELS).index(row["model"]), row["megapixels"]))
    measured.record(options, {"rows": order}, command="python benchmarks/costs.py")
    if options.record:
        package(measured.read()[options.record])


def package(entry: dict[str, Any]) -> None:
    """Write what the cards show."""
    PACKAGED.write_text(json.dumps(shown(entry), indent=2) + "\n", encoding="utf-8")


def shown(entry: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the cards show of an entry of docs/measured.json, by model."""
    return {
        row["model"]: {
            "seconds": row["seconds"],
            "mebibytes": row["mebibytes"],
            "machine": f"{row['machine']} in {row['dtype']}, {row['date']}{row['steps']}",
        }
        for row in entry["values"]["rows"]
        if row["megapixels"] == SHOWN_AT
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--megapixels", nargs="+", type=float, default=[0.25, 1.0])
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--limit", type=float, default=560, metavar="SECONDS")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    measured.add_option(parser, "catalog.costs")
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(*json.loads(options.child))), flush=True)
        os._exit(0)  # libraries' clean-up at exit is none of the measurement
    for model in options.models:
        rows = []
        for megapixels in sorted(options.megapixels):
            row = apart(model, megapixels, options)
            print(json.dumps(row), flush=True)
            rows.append(row)
            if "reason" in row:
                break
        keep(options, rows)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before dereflect sets it to a container's quota
    from dereflect.cli.scripts import run_script

    run_script(main)

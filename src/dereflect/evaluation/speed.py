"""How fast a model separates photos of several sizes here, and how much of the machine it uses.

Every measurement runs in a process of its own, so that its peak memory is its own and it can be stopped.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dereflect.errors import DereflectError
from dereflect.files import write_text


@dataclass(frozen=True)
class Speed:
    """One model at one size."""

    model: str
    megapixels: float
    seconds: float | None = None
    """Fastest of the timed separations: from picture in memory to layers in memory."""
    peak_bytes: int | None = None
    """Most memory of the whole process, weights and libraries included; None where it cannot be seen."""
    operations: int | None = None
    """Floating-point operations of convolutions and matrix products."""
    share: float | None = None
    """Of the rate that one large convolution reaches here in the same number format."""
    how: str = ""
    """Device, number format, and whole, fitted or tiled."""
    reason: str = ""
    """Why there are no numbers."""


def measure_apart(
    model: str, megapixels: float, options: Mapping[str, str], settings: Mapping[str, Any], limit: float
) -> Speed:
    """Measure in a child process; where that fails or takes longer than `limit`, the reason comes back."""
    request = json.dumps([model, megapixels, dict(options), dict(settings)])
    try:
        done = subprocess.run(
            [sys.executable, "-m", "dereflect.evaluation.speed"],
            input=request,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Speed(model, megapixels, reason=f"took longer than {limit:.0f} s")
    try:
        return Speed(**json.loads(done.stdout.splitlines()[-1]))
    except (json.JSONDecodeError, IndexError, TypeError):
        last = (done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1]
        reason = "ran out of memory" if done.returncode in (-9, 137) else last
        return Speed(model, megapixels, reason=reason)


def measure(
    model: str, megapixels: float, options: Mapping[str, str], settings: Mapping[str, Any], enough: float = 20
) -> Speed:
    """Measure in this process.

    Args:
        enough: once this many seconds of timed runs are done, or five runs, no more are made.
    """
    from torch.utils.flop_counter import FlopCounterMode

    from dereflect.evaluation.cost import measured_cost, peak_resident
    from dereflect.nn.rate import convolution_rate
    from dereflect.separator import load

    separator = load(model, options=options, **settings)
    photo = made_photo(megapixels)
    counter = FlopCounterMode(display=False)
    start = time.perf_counter()
    with counter:
        result = separator(photo)
    times = [time.perf_counter() - start]  # counts only where it takes so long that counting is nothing
    if times[0] < enough:
        times = []
        while sum(times) < enough and len(times) < 5:
            start = time.perf_counter()
            separator(photo)
            times.append(time.perf_counter() - start)
    if separator.device.type == "cuda":
        with measured_cost("cuda") as cost:
            separator(photo)
        peak = cost.peak_bytes
    else:
        peak = peak_resident()
    operations = int(counter.get_total_flops())
    rate = convolution_rate(separator.device, separator.dtype)
    return Speed(
        model=model,
        megapixels=megapixels,
        seconds=min(times),
        peak_bytes=peak,
        operations=operations,
        share=operations / min(times) / rate,
        how=f"{separator.running}, {result.how}",
    )


def made_photo(megapixels: float) -> Any:
    """A picture of flat squares with sides as 3 to 2, (H, W, 3) uint8."""
    import numpy as np

    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    width = round(1.5 * height)
    coarse = np.random.default_rng(0).integers(0, 256, (height // 32 + 1, width // 32 + 1, 3), dtype=np.uint8)
    return coarse.repeat(32, 0).repeat(32, 1)[:height, :width]


def to_line(speed: Speed) -> str:
    """One row of the table, for a terminal."""
    return to_markdown([speed], "").splitlines()[2].strip("| ")


def to_markdown(speeds: list[Speed], machine: str) -> str:
    """The table as a README shows it."""
    lines = [
        "| model | megapixels | seconds | peak memory | share of convolution rate | how |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for item in speeds:
        if item.seconds is None:
            lines.append(f"| {item.model} | {item.megapixels:g} | - | - | - | {item.reason} |")
            continue
        memory = "not seen here" if item.peak_bytes is None else f"{item.peak_bytes / 2**20:,.0f} MiB"
        cells = [
            item.model,
            f"{item.megapixels:g}",
            f"{item.seconds:.2f}",
            memory,
            f"{item.share:.0%}",
            item.how,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"Measured on {machine}.", ""])


def describe_machine() -> tuple[str, str]:
    """(what measurements of now were made on, what disturbs them; "" if nothing does)."""
    cores = os.cpu_count() or 1
    average = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    busy = f"busy with other work (load {average:.1f}), so times are too long" if average > cores / 2 else ""
    threads = os.environ.get("OMP_NUM_THREADS") or f"{cores}"
    system = f"{platform.system()} {platform.machine()}"
    machine = f"{threads} CPU threads, {system}, {datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
    return (f"{machine}; {busy}" if busy else machine), busy


def write_speeds(folder: Path, speeds: list[Speed], machine: str) -> Path:
    """Write speed.md and speed.json; returns the first.

    Raises:
        InputError: the folder cannot be written.
    """
    write_text(to_markdown(speeds, machine), folder / "speed.md")
    content = {"machine": machine, "speeds": [asdict(speed) for speed in speeds]}
    write_text(json.dumps(content, indent=1) + "\n", folder / "speed.json")
    return folder / "speed.md"


def _child() -> None:
    model, megapixels, options, settings = json.loads(sys.stdin.read())
    try:
        speed = measure(model, megapixels, options, settings)
    except DereflectError as error:
        speed = Speed(model, megapixels, reason=str(error))
    sys.stdout.write(json.dumps(asdict(speed)) + "\n")
    sys.stdout.flush()
    os._exit(0)  # libraries' clean-up at exit is none of the measurement


if __name__ == "__main__":
    _child()

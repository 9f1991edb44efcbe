"""`dereflect benchmark`: how fast the models are on this machine, and what they need."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dereflect.cli.options import Device, DeviceOption, DType, DTypeOption, SetOption, parse_settings
from dereflect.errors import InputError, first_line


def benchmark(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", metavar="NAME|FOLDER|FILE", help="May be repeated. [default: all named]"
        ),
    ] = None,
    megapixels: Annotated[
        list[float] | None, typer.Option(min=0.01, max=200, help="May be repeated. [default: 0.25, 1, 12]")
    ] = None,
    limit: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="Give a measurement up after this long.")
    ] = 300,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Also write speed.md and speed.json.")
    ] = None,
    settings: SetOption = None,
    device: DeviceOption = Device.auto,
    dtype: DTypeOption = DType.auto,
) -> None:
    """Time whole separations and their peak memory, beside the rate of one large convolution.

    Every measurement runs in a process of its own. Models whose weights are not at hand are listed with
    the reason.
    """
    import datetime
    import json
    import os
    import platform
    from dataclasses import asdict

    from dereflect.catalog import CARDS
    from dereflect.evaluation.speed import Speed, measure_apart, to_markdown

    options = parse_settings(settings)
    cores = os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    busy = f"; busy with other work (load {load:.1f}), so times are too long" if load > cores / 2 else ""
    if busy:
        typer.echo(f"note: this machine is{busy[1:]}", err=True)
    run_settings: dict[str, Any] = {"device": device.value, "dtype": dtype.value}
    speeds: list[Speed] = []
    for name in model or list(CARDS):
        for size in sorted(megapixels or [0.25, 1.0, 12.0]):
            speed = measure_apart(name, size, options, run_settings, limit)
            speeds.append(speed)
            typer.echo(to_markdown([speed], "").splitlines()[2].strip("| "))
            if speed.seconds is None:
                break  # larger sizes would not do better
    threads = os.environ.get("OMP_NUM_THREADS") or f"{cores}"
    system = f"{platform.system()} {platform.machine()}"
    machine = f"{threads} CPU threads, {system}, {datetime.datetime.now(datetime.UTC):%Y-%m-%d}{busy}"
    if output is not None:
        try:
            output.mkdir(parents=True, exist_ok=True)
            (output / "speed.md").write_text(to_markdown(speeds, machine), encoding="utf-8")
            text = json.dumps({"machine": machine, "speeds": [asdict(speed) for speed in speeds]}, indent=1)
            (output / "speed.json").write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise InputError(output, f"cannot be written ({first_line(error)})") from error
        typer.echo(f"written to {output / 'speed.md'}")

"""`dereflect benchmark`: how fast the models are on this machine, and what they need."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dereflect.cli.groups import Omit, grouped
from dereflect.cli.options import ModelOptions, models_option


@grouped
def benchmark(
    *,
    models: Annotated[list[str] | None, models_option("all of `dereflect models`")] = None,
    running: Annotated[ModelOptions, Omit(["model", "quality", "max_size", "tile", "seed"])],
    megapixels: Annotated[
        list[float] | None,
        typer.Option(
            "--megapixels",
            metavar="NUMBER",
            min=0.01,
            max=200,
            help="Size of the photo; may be given several times. Without, 0.25, 1 and 12.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        float,
        typer.Option("--limit", metavar="SECONDS", min=1, help="Give up a measurement after this long."),
    ] = 300,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Also write speed.md and speed.json.")
    ] = None,
) -> None:
    """Time whole separations and their peak memory, beside the rate of one large convolution.

    Every measurement runs in a process of its own. Models whose weights are not at hand are listed with
    the reason.
    """
    from dereflect.catalog import CARDS, check_source
    from dereflect.evaluation.speed import describe_machine, measure_apart, to_line, write_speeds

    for name in models or []:
        check_source(name)
    options, settings = running.of_method(), running.of_separator()
    machine, busy = describe_machine()
    if busy:
        typer.echo(f"note: this machine is {busy}", err=True)
    speeds = []
    for name in models or list(CARDS):
        for size in sorted(megapixels or [0.25, 1.0, 12.0]):
            speed = measure_apart(name, size, options, settings, limit)
            speeds.append(speed)
            typer.echo(to_line(speed))
            if speed.seconds is None:
                break  # larger sizes would not do better
    if output is not None:
        typer.echo(f"written to {write_speeds(output, speeds, machine)}")

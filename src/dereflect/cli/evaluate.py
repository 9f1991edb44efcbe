"""`dereflect evaluate`: measure models on pairs with known truth, and report it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from dereflect.cli.options import (
    Device,
    DeviceOption,
    DType,
    DTypeOption,
    MaxSizeOption,
    Quality,
    QualityOption,
    QuietOption,
    SeedOption,
    SetOption,
    TileOption,
    parse_settings,
)
from dereflect.errors import InputError, first_line

_MEASURE = "Measuring"


def evaluate(
    data: Annotated[
        list[Path],
        typer.Option("--data", metavar="DIR", help="A data set or a folder of data sets; may be repeated."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the report.")],
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", metavar="NAME|FOLDER|FILE", help="May be repeated. [default: default]"),
    ] = None,
    models: Annotated[
        str | None, typer.Option("--models", metavar="A,B,C", help="Several models, with commas.")
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            help="How to resize, round and measure: plain, or as a paper did, by its method's name.",
            rich_help_panel=_MEASURE,
        ),
    ] = "plain",
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Weights of LPIPS and DISTS; absent without.", rich_help_panel=_MEASURE
        ),
    ] = None,
    download_weights: Annotated[
        bool,
        typer.Option(
            "--download-weights",
            help="Fetch LPIPS weights that are missing from their authors.",
            rich_help_panel=_MEASURE,
        ),
    ] = False,
    ablate: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE", help="Measure the variants of this ablation.", rich_help_panel=_MEASURE
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Only the first pictures of each data set.", rich_help_panel=_MEASURE),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            min=1,
            help="Threads that measure while the model works; the numbers stay the same.",
            rich_help_panel=_MEASURE,
        ),
    ] = 1,
    settings: SetOption = None,
    device: DeviceOption = Device.auto,
    dtype: DTypeOption = DType.auto,
    quality: QualityOption = Quality.fast,
    max_size: MaxSizeOption = None,
    tile: TileOption = "auto",
    seed: SeedOption = 0,
    quiet: QuietOption = False,
) -> None:
    """Measure models on photos with known truth beside the untouched photos, and write a report.

    PSNR is measured as it is and aligned: after the best gain and offset of each channel, as no photo tells
    how bright each of its layers was. The report says what a model gains over the photo on average, and how
    many photos it makes worse.

    Writes report.html (open it first), results.json, results.csv, tables.md and tables.tex. Run again, it
    goes on where it stopped and measures only what has changed.
    """
    from dereflect.data.layouts import find_data_sets
    from dereflect.evaluation.perceptual import load_perceptual
    from dereflect.evaluation.protocol import find_protocol
    from dereflect.evaluation.report import write_report
    from dereflect.evaluation.run import Job, run
    from dereflect.evaluation.summary import summarise
    from dereflect.evaluation.systems import load_models
    from dereflect.evaluation.verdicts import verdicts

    preset = find_protocol(protocol)
    sets = [found for folder in data for found in find_data_sets(folder)]
    sets = [found.first(limit) for found in sets] if limit else sets
    names = [found.name for found in sets]
    for name in names:
        if names.count(name) > 1:
            raise InputError(None, f"two data sets are called '{name}'; rename a folder", option="data")
    measures, absent = load_perceptual([column.name for column in preset.columns], weights, download_weights)
    sources = [*(model or []), *(part.strip() for part in (models or "").split(",") if part.strip())]
    for source in sources:
        _refuse_unknown(source)
    options = parse_settings(settings)
    run_settings: dict[str, Any] = {
        "device": device.value,
        "dtype": dtype.value,
        "quality": quality.value,
        "max_size": max_size,
        "tile": int(tile) if tile.isdigit() else tile,
        "seed": seed,
    }
    plan = None
    if ablate is not None:
        from dereflect.evaluation.ablation import load_variants, read_ablation

        if len(sources) > 1:
            raise InputError(
                None, "give one --model at most, the weights that the variants share", option="ablate"
            )
        plan = read_ablation(ablate)
        systems = load_variants(plan, sources[0] if sources else None, options, run_settings)
    else:
        systems = load_models(sources or ["default"], options, run_settings)
    show = not quiet and sys.stderr.isatty()
    try:
        records = run(Job(systems, sets, preset, output, measures, workers), _progress if show else None)
        if show:
            sys.stderr.write("\r\x1b[K")
        titles = {column.name: column.title for column in preset.columns}
        paths = write_report(
            output, records, sets, preset, {titles[name]: reason for name, reason in absent.items()}, plan
        )
    except OSError as error:
        raise InputError(error.filename or output, f"cannot be written ({first_line(error)})") from error
    if not quiet:
        rows = summarise(records, preset)
        for verdict in verdicts(rows, preset):
            typer.echo(verdict.text)
        if plan is not None:
            from dereflect.evaluation.ablation import ablation_table
            from dereflect.evaluation.tables import to_markdown

            typer.echo(to_markdown(ablation_table(plan, rows, preset)))
        typer.echo(f"report: {paths[0]}")


def _refuse_unknown(source: str) -> None:
    """Find a misspelt name before hours of measuring, not after."""
    from dereflect.catalog import CARDS, load_method

    if source not in CARDS and "/" not in source and not Path(source).exists():
        load_method(source)


def _progress(done: int, total: int, text: str) -> None:
    sys.stderr.write(f"\r\x1b[K{done + 1}/{total} {text}"[:120])
    sys.stderr.flush()

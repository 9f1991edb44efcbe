"""`dereflect evaluate`: measure models on pairs with known truth, and report it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dereflect.cli.groups import Omit, grouped
from dereflect.cli.options import MODEL, ModelOptions, QuietOption, models_option
from dereflect.errors import InputError, first_line

if TYPE_CHECKING:
    from dereflect.data.layouts import DataSet
    from dereflect.evaluation.ablation import Ablation
    from dereflect.evaluation.protocol import Protocol
    from dereflect.evaluation.records import Record
    from dereflect.evaluation.run import EvaluationJob, System

MEASURING = "Measuring"


@dataclass(frozen=True)
class MeasuringOptions:
    """What is measured, and how."""

    protocol: Annotated[
        str,
        typer.Option(
            "--protocol",
            metavar="NAME",
            help="How to resize, round and measure: plain, or as a paper did, by its method's name.",
            rich_help_panel=MEASURING,
        ),
    ] = "plain"
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights",
            metavar="DIR",
            help="Folder with the weights of LPIPS and DISTS; measures without weights are left out.",
            rich_help_panel=MEASURING,
        ),
    ] = None
    download_weights: Annotated[
        bool,
        typer.Option(
            "--download-weights",
            help="Fetch weights of LPIPS that are missing from their authors.",
            rich_help_panel=MEASURING,
        ),
    ] = False
    ablate: Annotated[
        str | None,
        typer.Option(
            "--ablate",
            metavar="NAME|FILE",
            help="Measure the variants of this ablation.",
            rich_help_panel=MEASURING,
        ),
    ] = None
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            metavar="NUMBER",
            min=1,
            help="Only the first NUMBER photos of each data set.",
            rich_help_panel=MEASURING,
        ),
    ] = None
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            metavar="NUMBER",
            min=1,
            help="Threads that measure while the model works; the numbers stay the same.",
            rich_help_panel=MEASURING,
        ),
    ] = 1


@grouped
def evaluate(
    *,
    data: Annotated[
        list[Path],
        typer.Option(
            "--data", metavar="DIR", help="A data set or a folder of data sets; may be given several times."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the report.")],
    measuring: MeasuringOptions,
    model: Annotated[list[str] | None, models_option("'default'")] = None,
    models: Annotated[
        str | None,
        typer.Option("--models", metavar="A,B,C", help="Several models, with commas.", rich_help_panel=MODEL),
    ] = None,
    running: Annotated[ModelOptions, Omit(["model"])],
    quiet: QuietOption = False,
) -> None:
    """Measure models on photos with known truth beside the untouched photos, and write a report.

    PSNR is measured as it is and aligned: after the best gain and offset of each channel, as no photo tells
    how bright each of its layers was. The report says what a model gains over the photo on average, and how
    many photos it makes worse.

    Writes report.html (open it first), results.json, results.csv, tables.md and tables.tex. Run again, it
    goes on where it stopped and measures only what has changed.
    """
    from dereflect.evaluation.perceptual import load_perceptual
    from dereflect.evaluation.protocol import find_protocol
    from dereflect.evaluation.report import write_report
    from dereflect.evaluation.run import EvaluationJob

    protocol = find_protocol(measuring.protocol)
    sets = _find_sets(data, measuring.limit)
    columns = [column.name for column in protocol.columns]
    measures, absent = load_perceptual(columns, measuring.weights, measuring.download_weights)
    sources = [*(model or []), *(part.strip() for part in (models or "").split(",") if part.strip())]
    plan, systems = _systems(sources, measuring.ablate, running)
    titles = {column.name: column.title for column in protocol.columns}
    missing = {titles[name]: reason for name, reason in absent.items()}
    try:
        records = _run(EvaluationJob(systems, sets, protocol, output, measures, measuring.workers), quiet)
        paths = write_report(output, records, sets, protocol, missing, plan)
    except OSError as error:
        raise InputError(error.filename or output, f"cannot be written ({first_line(error)})") from error
    if not quiet:
        _print(records, protocol, plan)
        typer.echo(f"report: {paths[0]}")


def _find_sets(folders: list[Path], limit: int | None) -> list[DataSet]:
    from dereflect.data.layouts import find_data_sets

    sets = [found for folder in folders for found in find_data_sets(folder)]
    names = [found.name for found in sets]
    for name in names:
        if names.count(name) > 1:
            raise InputError(None, f"two data sets are called '{name}'; rename a folder", option="data")
    return [found.first(limit) for found in sets] if limit else sets


def _systems(
    sources: list[str], ablate: str | None, running: ModelOptions
) -> tuple[Ablation | None, Iterable[System]]:
    """What to measure, loaded one after the other."""
    from dereflect.evaluation.ablation import load_variants, read_ablation
    from dereflect.evaluation.systems import load_models

    options, settings = running.of_method(), running.of_separator()
    if ablate is None:
        return None, load_models(sources or [running.model], options, settings)
    if len(sources) > 1:
        reason = "give one --model at most, the weights that the variants share"
        raise InputError(None, reason, option="ablate")
    plan = read_ablation(ablate)
    return plan, load_variants(plan, sources[0] if sources else None, options, settings)


def _run(job: EvaluationJob, quiet: bool) -> list[Record]:
    """Run it, with a line of progress on a terminal."""
    from dereflect.evaluation.run import run

    if quiet or not sys.stderr.isatty():
        return run(job, None)

    def show(done: int, total: int, text: str) -> None:
        sys.stderr.write(f"\r\x1b[K{done + 1}/{total} {text}"[:120])
        sys.stderr.flush()

    records = run(job, show)
    sys.stderr.write("\r\x1b[K")
    return records


def _print(records: list[Record], protocol: Protocol, plan: Ablation | None) -> None:
    from dereflect.evaluation.ablation import ablation_table
    from dereflect.evaluation.summary import summarise
    from dereflect.evaluation.tables import to_markdown
    from dereflect.evaluation.verdicts import verdicts

    rows = summarise(records, protocol)
    for verdict in verdicts(rows, protocol):
        typer.echo(verdict.text)
    if plan is not None:
        typer.echo(to_markdown(ablation_table(plan, rows, protocol)))

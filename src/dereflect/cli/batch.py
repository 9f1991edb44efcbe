"""`dereflect batch`: folders and buckets, over one machine or many."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dereflect.cli.groups import grouped
from dereflect.cli.messages import flag
from dereflect.cli.options import (
    FILES,
    JsonOption,
    ModelOptions,
    QuietOption,
    ResultOptions,
    ShardOption,
    VerboseOption,
)

if TYPE_CHECKING:
    from dereflect.batch import Summary

MACHINES = "Machines"


@dataclass(frozen=True)
class FleetOptions:
    """On which machines, and how the work is dealt out."""

    address: Annotated[
        str,
        typer.Option(
            "--address",
            metavar="auto|none|ADDRESS",
            help="auto: the Ray cluster that runs here, or else one of this machine's own; none: without "
            "Ray, in this process.",
            rich_help_panel=MACHINES,
        ),
    ] = "auto"
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="NUMBER",
            min=1,
            help="Workers; as many as there is room for, if not given.",
            rich_help_panel=MACHINES,
        ),
    ] = None
    num_cpus: Annotated[
        float,
        typer.Option(
            "--num-cpus",
            metavar="NUMBER",
            min=0.0,
            help="Processor cores of each worker.",
            rich_help_panel=MACHINES,
        ),
    ] = 1.0
    num_gpus: Annotated[
        float,
        typer.Option(
            "--num-gpus",
            metavar="NUMBER",
            min=0.0,
            help="GPUs of each worker; 0.25 puts four on each.",
            rich_help_panel=MACHINES,
        ),
    ] = 0.0
    batch_size: Annotated[
        int,
        typer.Option(
            "--batch-size",
            metavar="NUMBER",
            min=1,
            help="Photos of one size that share a run of the network. More than 1 may change the last bit.",
            rich_help_panel=MACHINES,
        ),
    ] = 1
    group: Annotated[
        int,
        typer.Option(
            "--group", metavar="NUMBER", min=1, help="Most photos in one task.", rich_help_panel=MACHINES
        ),
    ] = 16


@grouped
def batch(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="Folder or address of the photos: a path, s3://, gs://, az://."
        ),
    ],
    destination: Annotated[
        str, typer.Argument(metavar="DEST", help="Folder or address of the outputs; gets the source's tree.")
    ],
    result: ResultOptions,
    model: ModelOptions,
    fleet: FleetOptions,
    shard: ShardOption = None,
    retry_refused: Annotated[
        bool,
        typer.Option(
            "--retry-refused", help="Try again what an earlier run has refused.", rich_help_panel=FILES
        ),
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Separate whole folders or buckets, over one machine or many, and lose none.

    Outputs repeat the source's tree in DEST. DEST/_dereflect/manifest (Parquet) has every photo's state,
    checksums and error. Run it again, whatever happened: only what is missing is done. Exit code: 0 all done,
    1 some photos were refused or failed, 2 none was done.
    """
    from dereflect.batch import run_batch
    from dereflect.batch.job import BatchJob, Fleet
    from dereflect.cli.inputs import parse_shard
    from dereflect.inference.best import settled

    job = BatchJob(
        source,
        destination,
        str(settled(model.model, model.device.value)),  # once, so that a job has one model
        options=model.of_method(),
        settings=model.of_separator(),
        **result.of_job(),
        group=fleet.group,
        batch_size=fleet.batch_size,
        shard=parse_shard(shard),
        retry_refused=retry_refused,
        spell=flag,
    )
    report = _Report(quiet, as_json, verbose)
    machines = Fleet(fleet.address, fleet.workers, fleet.num_cpus, fleet.num_gpus)
    try:
        summary = run_batch(job, machines, report)
    except KeyboardInterrupt:
        typer.echo("stopped; finished photos are kept: run the same command again to go on", err=True)
        raise typer.Exit(130) from None
    raise typer.Exit(report.finish(summary))


class _Report:
    """Says refusals at once, and how far it is every ten seconds."""

    def __init__(self, quiet: bool, as_json: bool, verbose: int) -> None:
        self.quiet = quiet
        self.verbose = verbose
        self.as_json = as_json
        self.said = self.started = time.perf_counter()

    def __call__(self, row: dict[str, Any], summary: Summary) -> None:
        from dereflect.batch.work import TRACE
        from dereflect.cli.report import printable

        if self.as_json:
            typer.echo(json.dumps({key: value for key, value in row.items() if key != TRACE}))
            sys.stdout.flush()
        for note in row["notes"] if self.verbose else ():
            typer.echo(printable(f"{row['path']}: {note}"), err=True)
        if row["state"] != "done":
            typer.echo(printable(f"{row['path']}: {row['error']}"), err=True)
            for line in row.get(TRACE, "").splitlines() if self.verbose else ():
                typer.echo(printable(f"    {line}"), err=True)
        now = time.perf_counter()
        if not self.quiet and now - self.said > 10:
            self.said = now
            count = summary.done + summary.refused + summary.failed
            typer.echo(f"{count} photos, {count / (now - self.started):.1f} photos/s", err=True)

    def finish(self, summary: Summary) -> int:
        from dereflect.cli.report import NOT_FOUND, left_out_words, printable
        from dereflect.images.raw import missing

        parts = [f"{summary.found} photos: {summary.done} separated in {summary.seconds:.1f} s"]
        if summary.untouched:
            parts.append(f"in {summary.untouched} of them {NOT_FOUND}")
        if summary.kept:
            parts.append(f"{summary.kept} done or refused by an earlier run")
        if summary.refused:
            parts.append(f"{summary.refused} refused")
        if summary.failed:
            parts.append(f"{summary.failed} failed, which the next run tries again")
        if summary.noted:
            parts.append(f"{summary.noted} with notes (column notes of the manifest, or -v)")
        if summary.own_outputs:
            parts.append(f"{summary.own_outputs} earlier outputs skipped")
        parts += left_out_words(summary.raw)
        if summary.raw.unreadable:
            unread = f"{summary.raw.unreadable} raw files: {missing()}"
            typer.echo(printable(unread), err=True)
        for path, reason in summary.folders:
            typer.echo(printable(f"{path}: {reason}"), err=True)
        if summary.folders:
            parts.append(f"{len(summary.folders)} folders could not be read")
        if not self.quiet:
            typer.echo("; ".join(parts), err=True)
        if summary.refused + summary.failed + len(summary.folders) + summary.raw.unreadable == 0:
            return 0
        return 1 if summary.done + summary.kept else 2

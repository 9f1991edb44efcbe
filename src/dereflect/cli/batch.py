"""`dereflect batch`: folders and buckets, over one machine or many."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dereflect.cli.messages import flag
from dereflect.cli.options import (
    Device,
    DeviceOption,
    DType,
    DTypeOption,
    Format,
    Layer,
    MaxSizeOption,
    ModelOption,
    Quality,
    QualityOption,
    QuietOption,
    SeedOption,
    SetOption,
    TileOption,
    parse_settings,
)

if TYPE_CHECKING:
    from dereflect.batch import Summary

_FLEET = "Machines"
_WORK = "Work"


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
    address: Annotated[
        str,
        typer.Option(
            "--address",
            metavar="auto|none|ADDRESS",
            help="auto: the Ray cluster that runs here, or else one of this machine's own; none: without "
            "Ray, in this process.",
            rich_help_panel=_FLEET,
        ),
    ] = "auto",
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=1, help="Workers; as many as there is room for.", rich_help_panel=_FLEET
        ),
    ] = None,
    num_cpus: Annotated[
        float, typer.Option("--num-cpus", min=0.0, help="Processor cores a worker.", rich_help_panel=_FLEET)
    ] = 1.0,
    num_gpus: Annotated[
        float,
        typer.Option(
            "--num-gpus", min=0.0, help="GPUs a worker; 0.25 puts four on each.", rich_help_panel=_FLEET
        ),
    ] = 0.0,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Do only every N-th photo, beginning with the I-th: one job of N.",
            rich_help_panel=_FLEET,
        ),
    ] = None,
    layers: Annotated[
        Layer, typer.Option("--layers", help="What to write.", rich_help_panel=_WORK)
    ] = Layer.both,
    format: Annotated[
        Format,
        typer.Option("--format", help="Format to write; keep takes the photo's own.", rich_help_panel=_WORK),
    ] = Format.keep,
    strip_metadata: Annotated[
        bool,
        typer.Option("--strip-metadata", help="Write no EXIF, XMP or resolution.", rich_help_panel=_WORK),
    ] = False,
    strength: Annotated[
        float,
        typer.Option(
            "--strength",
            min=0.0,
            max=1.0,
            help="How much of the reflection to take away.",
            rich_help_panel=_WORK,
        ),
    ] = 1.0,
    batch_size: Annotated[
        int,
        typer.Option(
            "--batch-size",
            min=1,
            help="Photos of one size that share a run of the network. More than 1 may change the last bit.",
            rich_help_panel=_WORK,
        ),
    ] = 1,
    group: Annotated[
        int, typer.Option("--group", min=1, help="Most photos in one task.", rich_help_panel=_WORK)
    ] = 16,
    max_pixels: Annotated[
        int, typer.Option("--max-pixels", min=1, help="Refuse larger pictures.", rich_help_panel=_WORK)
    ] = 200_000_000,
    retry_refused: Annotated[
        bool,
        typer.Option(
            "--retry-refused", help="Try again what an earlier run has refused.", rich_help_panel=_WORK
        ),
    ] = False,
    model: ModelOption = "default",
    device: DeviceOption = Device.auto,
    dtype: DTypeOption = DType.auto,
    quality: QualityOption = Quality.fast,
    max_size: MaxSizeOption = None,
    tile: TileOption = "auto",
    seed: SeedOption = 0,
    settings: SetOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One line of JSON a photo on standard output.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Separate whole folders or buckets, over one machine or many, and lose none.

    Outputs repeat the source's tree in DEST. DEST/_dereflect/manifest (Parquet) has every photo's state,
    checksums and error. Run it again, whatever happened: only what is missing is done. Exit code: 0 all fine,
    1 some photos were refused or failed, 2 none was done.
    """
    from dereflect.batch import BatchJob, run_batch
    from dereflect.batch.job import Fleet
    from dereflect.cli.inputs import parse_shard

    job = BatchJob(
        source,
        destination,
        model,
        options=parse_settings(settings),
        settings={
            "device": device.value,
            "dtype": dtype.value,
            "quality": quality.value,
            "max_size": max_size,
            "tile": tile,
            "seed": seed,
        },
        strength=strength,
        layers=layers.value,
        format=format.value,
        metadata=not strip_metadata,
        max_pixels=max_pixels,
        group=group,
        batch_size=batch_size,
        shard=parse_shard(shard),
        retry_refused=retry_refused,
        spell=flag,
    )
    report = _Report(quiet, as_json)
    try:
        summary = run_batch(job, Fleet(address, workers, num_cpus, num_gpus), report)
    except KeyboardInterrupt:
        typer.echo("stopped; what is done is done: run it again to go on", err=True)
        raise typer.Exit(130) from None
    raise typer.Exit(report.finish(summary))


class _Report:
    """Says refusals at once, and how far it is every ten seconds."""

    def __init__(self, quiet: bool, as_json: bool) -> None:
        self.quiet = quiet
        self.as_json = as_json
        self.said = self.started = time.perf_counter()

    def __call__(self, row: dict[str, Any], summary: Summary) -> None:
        from dereflect.cli.report import printable

        if self.as_json:
            typer.echo(json.dumps(row))
            sys.stdout.flush()
        if row["state"] != "done":
            typer.echo(printable(f"{row['path']}: {row['error']}"), err=True)
        now = time.perf_counter()
        if not self.quiet and now - self.said > 10:
            self.said = now
            count = summary.done + summary.refused + summary.failed
            typer.echo(f"{count} photos, {count / (now - self.started):.1f} a second", err=True)

    def finish(self, summary: Summary) -> int:
        parts = [f"{summary.found} photos: {summary.done} separated in {summary.seconds:.1f} s"]
        if summary.kept:
            parts.append(f"{summary.kept} settled by an earlier run")
        if summary.refused:
            parts.append(f"{summary.refused} refused")
        if summary.failed:
            parts.append(f"{summary.failed} failed, which the next run tries again")
        if not self.quiet:
            typer.echo("; ".join(parts), err=True)
        if summary.refused + summary.failed == 0:
            return 0
        return 1 if summary.done + summary.kept else 2

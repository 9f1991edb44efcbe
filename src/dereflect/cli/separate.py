"""`dereflect separate`: photos in, two layers out."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from dereflect.cli.options import (
    MODEL_PANEL,
    Device,
    DeviceOption,
    DType,
    DTypeOption,
    Format,
    Layer,
    MaxSizeOption,
    ModelOption,
    OutputOption,
    OverwriteOption,
    Quality,
    QualityOption,
    QuietOption,
    SeedOption,
    SetOption,
    TileOption,
    VerboseOption,
    parse_settings,
)
from dereflect.errors import InputError

_FILES = "Files"
_PICTURE = "Picture"


def separate(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Photos, folders, patterns like 'holiday/*.jpg', or - for stdin to stdout.",
            show_default=False,
        ),
    ],
    output: OutputOption = None,
    recursive: Annotated[
        bool,
        typer.Option(
            "--recursive",
            "-r",
            help="Look into folders of folders; the output folder gets the same tree.",
            rich_help_panel=_FILES,
        ),
    ] = False,
    layers: Annotated[
        Layer | None,
        typer.Option(
            "--layers",
            help="What to write; both, or for standard output the transmission.",
            show_default=False,
            rich_help_panel=_FILES,
        ),
    ] = None,
    format: Annotated[
        Format,
        typer.Option("--format", help="Format to write; keep takes the photo's own.", rich_help_panel=_FILES),
    ] = Format.keep,
    side_by_side: Annotated[
        bool,
        typer.Option(
            "--side-by-side",
            help="Also write photo, transmission and reflection beside one another.",
            rich_help_panel=_FILES,
        ),
    ] = False,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="Leave out photos whose outputs are there already.",
            rich_help_panel=_FILES,
        ),
    ] = False,
    overwrite: OverwriteOption = False,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Also write heat maps of what a generative method may have invented.",
            rich_help_panel=_FILES,
        ),
    ] = False,
    strip_metadata: Annotated[
        bool,
        typer.Option(
            "--strip-metadata",
            help="Write no EXIF, XMP or resolution (the colour profile stays: colours need it).",
            rich_help_panel=_FILES,
        ),
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Do only every N-th photo, beginning with the I-th: one job of N.",
            rich_help_panel=_FILES,
        ),
    ] = None,
    strength: Annotated[
        float,
        typer.Option(
            "--strength",
            min=-1.0,
            max=1.0,
            help="How much of the reflection to take away: 0 leaves the photo as it was, -1 shows only the "
            "reflection.",
            rich_help_panel=_PICTURE,
        ),
    ] = 1.0,
    mask: Annotated[
        Path | None,
        typer.Option(
            "--mask",
            metavar="FILE",
            help="A grey picture of the photo's size: take the reflection away where it is white.",
            rich_help_panel=_PICTURE,
        ),
    ] = None,
    max_pixels: Annotated[
        int,
        typer.Option(
            "--max-pixels",
            min=1,
            help="Refuse larger pictures before decoding them.",
            rich_help_panel=_PICTURE,
        ),
    ] = 200_000_000,
    model: ModelOption = "default",
    device: DeviceOption = Device.auto,
    dtype: DTypeOption = DType.auto,
    quality: QualityOption = Quality.fast,
    max_size: MaxSizeOption = None,
    tile: TileOption = "auto",
    seed: SeedOption = 0,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            metavar="N",
            help="Steps of methods that work in many; short for --set steps=N.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    settings: SetOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One line of JSON a photo on standard output.")
    ] = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Separate photos taken through glass into the scene behind it and its reflection.

    Writes <name>_transmission and <name>_reflection beside each photo, or into --output. Nothing is
    overwritten without --overwrite, and nothing is ever deleted. Exit code: 0 all fine, 1 some photos failed,
    2 none was done.
    """
    from dereflect.cli.explain import explain_paths
    from dereflect.cli.inputs import find_photos, parse_shard
    from dereflect.cli.report import Report
    from dereflect.cli.run import Run, run_pipe

    if overwrite and skip_existing:
        raise InputError("--overwrite and --skip-existing", "contradict each other; give one of them")
    first, step = parse_shard(shard)
    options = parse_settings([*(settings or []), *([] if steps is None else [f"steps={steps}"])])
    piped = "-" in inputs
    if piped and (len(inputs) > 1 or as_json or side_by_side or explain):
        raise InputError(
            "-",
            "standard input goes alone to standard output, "
            "without other inputs, --json, --side-by-side or --explain",
        )
    if piped and layers is Layer.both and output is None:
        raise InputError(
            "-", "standard output takes one image; give --layers transmission or --layers reflection"
        )

    found = find_photos([word for word in inputs if word != "-"], recursive)
    photos = found.photos[first::step]
    report = Report(len(photos), quiet=quiet, verbose=verbose, as_json=as_json)
    for error in found.errors:
        report.failed(error.subject, error)
    if not photos and not piped:
        raise typer.Exit(report.finish(found))

    from dereflect.separator import load

    separator = load(
        model,
        options=options,
        device=device.value,
        dtype=dtype.value,
        tile=tile,
        max_size=max_size,
        quality=quality.value,
        seed=seed,
        max_pixels=max_pixels,
    )
    if explain:
        explain_paths(separator.method, Path(), "")  # refuse now, not at the first photo
    report.say_device(separator)
    run = Run(
        separator=separator,
        output=output,
        layers=(layers or Layer.both).value,
        format=format.value,
        side_by_side=side_by_side,
        explain=explain,
        skip_existing=skip_existing,
        overwrite=overwrite,
        metadata=not strip_metadata,
        call={"strength": strength, "mask": None if mask is None else _read_mask(mask, max_pixels)},
    )
    if piped:
        run_pipe(run, sys.stdin.buffer, sys.stdout.buffer, (layers or Layer.transmission).value)
        return
    try:
        with _terminate_interrupts(), report:
            run.all(photos, report)
    except KeyboardInterrupt:
        report.interrupted()
        raise typer.Exit(130) from None
    raise typer.Exit(report.finish(found))


def _read_mask(path: Path, max_pixels: int) -> Any:
    from dereflect.images import read

    return read(path, max_pixels)


@contextlib.contextmanager
def _terminate_interrupts() -> Iterator[None]:
    """Make the terminate signal (of batch systems) act like Ctrl-C, so that temporary files go away."""

    def interrupt(signal_number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

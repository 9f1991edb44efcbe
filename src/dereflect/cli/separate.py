"""`dereflect separate`: photos in, two layers out."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from dereflect.cli.groups import grouped
from dereflect.cli.options import MODEL, JsonOption, LayerChoice, ModelOptions, QuietOption
from dereflect.cli.separate_options import FileOptions, PhotoOptions, ProgramOptions
from dereflect.errors import InputError

if TYPE_CHECKING:
    from dereflect.cli.report import Report


@grouped
def separate(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Photos, folders, patterns like 'holiday/*.jpg', or - for standard input to standard output "
            "(one layer: the transmission, unless --layers says otherwise).",
            show_default=False,
        ),
    ],
    files: FileOptions,
    result: PhotoOptions,
    model: ModelOptions,
    programs: ProgramOptions,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            metavar="NUMBER",
            help="Steps of methods that work in many; short for --set steps=NUMBER.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose",
            "-v",
            count=True,
            help="Print more: how each photo was run, how long it took, and where what failed did so.",
            show_default=False,
        ),
    ] = 0,
) -> None:
    """Separate photos taken through glass into the scene behind it and its reflection.

    Writes <name>_transmission (the scene) and <name>_reflection beside each photo, or into --output. Nothing
    is overwritten without --overwrite, and nothing is ever deleted. In folders and patterns, what an earlier
    run has written is skipped: the output folder, and outputs beside their photo.

    Exit code: 0 all done, 1 some photos failed, 2 none was done, 130 stopped. With --watch, Ctrl-C is how it
    ends: 0, or 1.
    """
    from dereflect.cli.report import Report, told_to_programs
    from dereflect.cli.stopping import running_while

    if steps is not None:
        model = replace(model, settings=[*(model.settings or []), f"steps={steps}"])
    with told_to_programs(as_json and "-" not in inputs):
        model.of_method()  # refuse a malformed --set before any work
        _check(inputs, result, files, as_json, programs.while_there)
        with running_while(programs.while_there):
            report = Report(0, quiet, verbose, as_json, programs.progress)
            if inputs == ["-"] and not files.watch:
                return _separate_pipe(files, result, model, report)
            run = _watch if files.watch else _separate_all
            raise typer.Exit(run(inputs, files, result, model, report))


def _separate_all(
    inputs: list[str], files: FileOptions, result: PhotoOptions, model: ModelOptions, report: Report
) -> int:
    """Separate what is there."""
    from dereflect.cli.inputs import find_photos, parse_shard
    from dereflect.cli.run import make_run, run_photos

    shard = parse_shard(files.shard)
    found = find_photos(inputs, files.recursive, shard, files.output, files.overwrite, result.raw.value)
    report.total = len(found.photos)
    return run_photos(found, report, lambda: make_run(model, files, result))


def _watch(
    inputs: list[str], files: FileOptions, result: PhotoOptions, model: ModelOptions, report: Report
) -> int:
    """Separate what is there and what arrives, until it is stopped."""
    from dereflect.cli.inputs import Found, find_photos
    from dereflect.cli.run import make_run
    from dereflect.cli.watching import check_watch, watch

    def find(folders: list[str]) -> Found:
        everything = (0, 1)
        return find_photos(
            folders, files.recursive, everything, files.output, raw=result.raw.value, may_be_empty=True
        )

    check_watch(inputs, files.output, files.shard)
    return watch(inputs, find, report, lambda: make_run(model, files, result))


def _separate_pipe(files: FileOptions, result: PhotoOptions, model: ModelOptions, report: Report) -> None:
    """Separate the photo on standard input."""
    from dereflect.cli.run import make_run, run_pipe

    report.total = 1
    report.load()
    run_pipe(make_run(model, files, result), report, sys.stdin.buffer, sys.stdout.buffer)


def _check(
    inputs: list[str], result: PhotoOptions, files: FileOptions, as_json: bool, while_there: str | None
) -> None:
    if files.overwrite and files.skip_existing:
        raise InputError("--overwrite and --skip-existing", "contradict each other; give one of them")
    if files.output is not None and os.path.lexists(files.output) and not os.path.isdir(files.output):
        raise InputError(files.output, "is not a folder, so nothing can be written there", option="output")
    if "-" not in inputs:
        return
    if inputs == ["-"] and sys.stdin is None:
        raise InputError("-", "standard input is closed")
    if len(inputs) > 1 or as_json or result.side_by_side or result.explain:
        reason = "standard input goes alone to standard output"
        raise InputError("-", f"{reason}, without other inputs, --json, --side-by-side or --explain")
    if while_there == "-":
        raise InputError("-", "the photo comes by standard input; give a file", option="while")
    if result.layers is LayerChoice.both and files.output is None:
        reason = "standard output takes one picture"
        raise InputError("-", f"{reason}; give --layers transmission or --layers reflection")

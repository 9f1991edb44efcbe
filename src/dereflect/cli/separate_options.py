"""Options of `dereflect separate` alone, in groups."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dereflect.cli.options import (
    FILES,
    RESULT,
    OverwriteOption,
    ResultOptions,
    ShardOption,
)

PROGRAMS = "For other programs"
"""A panel of the help."""


class ProgressChoice(StrEnum):
    """How to show what is done."""

    auto = "auto"
    json = "json"


@dataclass(frozen=True)
class FileOptions:
    """Which photos, and where their outputs go."""

    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder to write to; made if it is not there. Without, outputs go beside the photos.",
            rich_help_panel=FILES,
        ),
    ] = None
    recursive: Annotated[
        bool,
        typer.Option(
            "--recursive",
            "-r",
            help="Look into folders of folders; the output folder gets the same tree.",
            rich_help_panel=FILES,
        ),
    ] = False
    overwrite: OverwriteOption = False
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing", help="Skip photos whose outputs are there already.", rich_help_panel=FILES
        ),
    ] = False
    shard: ShardOption = None
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Go on waiting for photos in the folder INPUT, and separate each once it is complete, until "
            "Ctrl-C; needs --output.",
            rich_help_panel=FILES,
        ),
    ] = False


@dataclass(frozen=True)
class PhotoOptions(ResultOptions):
    """What to write of each photo, beside its layers."""

    mask: Annotated[
        Path | None,
        typer.Option(
            "--mask",
            metavar="FILE",
            help="A grey picture of the photo's proportions: take the reflection away where it is white.",
            rich_help_panel=RESULT,
        ),
    ] = None
    strokes: Annotated[
        Path | None,
        typer.Option(
            "--strokes",
            metavar="FILE",
            help="A transparent picture of the photo's proportions: red strokes where reflection was left, "
            "blue ones where scene was taken away.",
            rich_help_panel=RESULT,
        ),
    ] = None
    side_by_side: Annotated[
        bool,
        typer.Option(
            "--side-by-side",
            help="Also write photo, transmission and reflection side by side in one picture.",
            rich_help_panel=RESULT,
        ),
    ] = False
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Also write heat maps of what a generative method may have invented.",
            rich_help_panel=RESULT,
        ),
    ] = False


@dataclass(frozen=True)
class ProgramOptions:
    """What a program that runs the command wants of it."""

    progress: Annotated[
        ProgressChoice,
        typer.Option(
            "--progress",
            help="auto draws a bar on a terminal; json writes lines of JSON to standard error, in which "
            "`progress` goes from 0 to 1.",
            rich_help_panel=PROGRAMS,
        ),
    ] = ProgressChoice.auto
    while_there: Annotated[
        str | None,
        typer.Option(
            "--while",
            metavar="FILE",
            help="Stop as at Ctrl-C once this file is gone; - for the end of standard input.",
            rich_help_panel=PROGRAMS,
        ),
    ] = None

"""`dereflect video`: a film shot through glass, separated and steady, with its sound."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dereflect.cli.groups import grouped
from dereflect.cli.messages import fault_line
from dereflect.cli.options import (
    FILES,
    RESULT,
    ModelOptions,
    OverwriteOption,
    QuietOption,
    StrengthOption,
    VerboseOption,
)
from dereflect.errors import DereflectError, trace_of
from dereflect.escapes import escaped


class FilmLayer(StrEnum):
    """Which layer to make a film of."""

    transmission = "transmission"
    reflection = "reflection"


class Codec(StrEnum):
    """How to encode it."""

    h264 = "h264"
    hevc = "hevc"
    av1 = "av1"
    vp9 = "vp9"


@dataclass(frozen=True)
class FilmOptions:
    """What to make of the film."""

    strength: StrengthOption = 1.0
    layer: Annotated[
        FilmLayer,
        typer.Option("--layer", help="Which layer to make a film of.", rich_help_panel=RESULT),
    ] = FilmLayer.transmission
    codec: Annotated[
        Codec, typer.Option("--codec", help="How to encode the film.", rich_help_panel=RESULT)
    ] = Codec.h264
    crf: Annotated[
        int | None,
        typer.Option(
            "--crf",
            metavar="NUMBER",
            min=0,
            max=63,
            help="Quality of the encoding, lower is better; by default such that the loss is hard to see.",
            show_default=False,
            rich_help_panel=RESULT,
        ),
    ] = None
    steady: Annotated[
        int,
        typer.Option(
            "--steady",
            metavar="FRAMES",
            min=0,
            max=60,
            help="Frames on each side that guide one along the motion; 0 for frame by frame.",
            rich_help_panel=RESULT,
        ),
    ] = 8
    overwrite: OverwriteOption = False
    chunk: Annotated[
        int,
        typer.Option(
            "--chunk",
            metavar="FRAMES",
            min=1,
            help="Frames a chunk: what is lost at most when the run is stopped.",
            rich_help_panel=FILES,
        ),
    ] = 96


@grouped
def video(
    source: Annotated[Path, typer.Argument(metavar="IN", help="The film.", show_default=False)],
    target: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="What to write, e.g. out.mp4 or out.mkv.", show_default=False),
    ],
    film: FilmOptions,
    model: ModelOptions,
    quiet: QuietOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """Separate a film: same frames, same time stamps, same rotation and colour tags, the very same sound.

    Each frame's result is guided by those of its neighbours along the motion of the scene, so that it does
    not flicker. Finished chunks are kept in OUT.parts: stopped at any time, the same command goes on from
    there. A frame that fails is named and shown as it was. Exit code: 0 all done, 1 some frames failed, 2
    nothing was done.
    """
    from dereflect.video import VideoJob, convert_video

    job = VideoJob(
        source=source,
        target=target,
        layer=film.layer.value,
        strength=film.strength,
        codec=film.codec.value,
        crf=film.crf,
        radius=film.steady,
        chunk=film.chunk,
        overwrite=film.overwrite,
        model=model.model,
        options=model.of_method(),
    )
    say = _Progress(quiet, verbose)
    try:
        done = convert_video(job, model.load(), say, say.failed)
    except KeyboardInterrupt:
        kept = f"finished chunks are kept in {escaped(str(job.parts))}"
        typer.echo(f"\nstopped; {kept}: the same command goes on from there", err=True)
        raise typer.Exit(130) from None
    say.finish(f"{escaped(str(target))}: {say.done} frames of {done.width} x {done.height}")
    raise typer.Exit(1 if say.faults else 0)


class _Progress:
    """Says how far it is: on a terminal in one line, elsewhere every ten seconds."""

    def __init__(self, quiet: bool, verbose: int = 0) -> None:
        self.quiet = quiet
        self.verbose = verbose
        self.faults = 0
        self.terminal = sys.stderr.isatty()
        self.done = 0
        self.first: int | None = None
        self.started = self.said = time.perf_counter()

    def __call__(self, done: int, total: int) -> None:
        self.done = done
        if self.first is None:
            self.first = done - 1
        now = time.perf_counter()
        if self.quiet or now - self.said < (0.5 if self.terminal else 10):
            return
        self.said = now
        speed = (done - self.first) / (now - self.started)
        of = f" of {total}, {max(0, total - done) / speed / 60:.1f} minutes to go" if total else ""
        typer.echo(f"\r{done} frames{of}, {speed:.2f} frames/s  ", nl=not self.terminal, err=True)

    def failed(self, number: int, fault: DereflectError) -> None:
        """Say that a frame failed."""
        self.faults += 1
        typer.echo(("\r" if self.terminal else "") + fault_line(fault), err=True)
        if self.verbose and (trace := trace_of(fault)):
            typer.echo(trace, err=True)

    def finish(self, text: str) -> None:
        if not self.quiet:
            typer.echo(f"\r{text}, {time.perf_counter() - self.started:.1f} s" + " " * 20, err=True)

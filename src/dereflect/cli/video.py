"""`dereflect video`: a film shot through glass, separated and steady, with its sound."""

from __future__ import annotations

import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dereflect.cli.options import (
    Device,
    DeviceOption,
    DType,
    DTypeOption,
    MaxSizeOption,
    ModelOption,
    OverwriteOption,
    Quality,
    QualityOption,
    QuietOption,
    SeedOption,
    SetOption,
    TileOption,
    parse_settings,
)


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


def video(
    source: Annotated[Path, typer.Argument(metavar="IN", help="The film.", show_default=False)],
    target: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="What to write, e.g. out.mp4 or out.mkv.", show_default=False),
    ],
    layer: Annotated[
        FilmLayer, typer.Option("--layer", help="Which layer to make a film of.")
    ] = FilmLayer.transmission,
    codec: Annotated[Codec, typer.Option("--codec", help="How to encode it.")] = Codec.h264,
    crf: Annotated[
        int | None,
        typer.Option(
            "--crf",
            min=0,
            max=63,
            help="Quality, lower is better; by default such that the loss is hard to see.",
            show_default=False,
        ),
    ] = None,
    strength: Annotated[
        float,
        typer.Option("--strength", min=0.0, max=1.0, help="How much of the reflection to take away."),
    ] = 1.0,
    steady: Annotated[
        int,
        typer.Option(
            "--steady",
            min=0,
            max=60,
            metavar="FRAMES",
            help="Frames on each side that guide one along the motion; 0 for frame by frame.",
        ),
    ] = 8,
    chunk: Annotated[
        int, typer.Option("--chunk", min=1, help="Frames a chunk: what is lost at most if it is stopped.")
    ] = 96,
    overwrite: OverwriteOption = False,
    model: ModelOption = "default",
    device: DeviceOption = Device.auto,
    dtype: DTypeOption = DType.auto,
    quality: QualityOption = Quality.fast,
    max_size: MaxSizeOption = None,
    tile: TileOption = "auto",
    seed: SeedOption = 0,
    settings: SetOption = None,
    quiet: QuietOption = False,
) -> None:
    """Separate a film: same frames, same time stamps, same rotation and colour tags, the very same sound.

    Each frame's result is guided by those of its neighbours along the motion of the scene, so that it does
    not flicker. What is done is kept in OUT.parts: stopped at any time, the same command goes on from there.
    """
    from dereflect.separator import load
    from dereflect.video import VideoJob, convert_video

    separator = load(
        model,
        options=parse_settings(settings),
        device=device.value,
        dtype=dtype.value,
        tile=tile,
        max_size=max_size,
        quality=quality.value,
        seed=seed,
    )
    job = VideoJob(
        source=source,
        target=target,
        layer=layer.value,
        strength=strength,
        codec=codec.value,
        crf=crf,
        radius=steady,
        chunk=chunk,
        overwrite=overwrite,
        model=model,
    )
    say = _Progress(quiet)
    try:
        film = convert_video(job, separator, say)
    except KeyboardInterrupt:
        typer.echo(
            f"\nstopped; what is done is in {job.parts}: the same command goes on from there", err=True
        )
        raise typer.Exit(130) from None
    say.finish(f"{target}: {say.done} frames of {film.width} x {film.height}")


class _Progress:
    """Says how far it is: on a terminal in one line, elsewhere every ten seconds."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
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
        typer.echo(f"\r{done} frames{of}, {speed:.2f} a second  ", nl=not self.terminal, err=True)

    def finish(self, text: str) -> None:
        if not self.quiet:
            typer.echo(f"\r{text}, {time.perf_counter() - self.started:.1f} s" + " " * 20, err=True)

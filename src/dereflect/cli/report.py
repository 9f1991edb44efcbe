"""What `dereflect separate` says: a progress bar on a terminal, plain lines elsewhere, JSON on request."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

from dereflect.cli.messages import fault_line, option_of, reason_of
from dereflect.cli.separate_options import ProgressChoice
from dereflect.errors import DereflectError, trace_of
from dereflect.escapes import escaped, one_line
from dereflect.images.raw import missing

if TYPE_CHECKING:
    from dereflect.cli.inputs import Found
    from dereflect.images.raw_pairs import Chosen
    from dereflect.separation import Separation
    from dereflect.separator import Separator

NOT_FOUND = "no reflection found"


class Report:
    """Counts what happens, and says it.

    Args:
        total: number of photos.
        quiet: say nothing but errors.
        verbose: 1 says how each photo was run, and where what went wrong did so.
        as_json: one line of JSON a photo on standard output.
        progress: a bar on a terminal, or lines of JSON on standard error.
    """

    def __init__(
        self,
        total: int,
        quiet: bool = False,
        verbose: int = 0,
        as_json: bool = False,
        progress: ProgressChoice = ProgressChoice.auto,
    ) -> None:
        self.total = total
        self.quiet = quiet
        self.verbose = verbose
        self.as_json = as_json
        self.done = 0
        self.untouched = 0
        self.failures = 0
        self.skips = 0
        self._progress = progress
        self._name: str | None = None
        self._past = 0
        self._started = time.perf_counter()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Report:
        if self._progress is ProgressChoice.auto and (
            not self.quiet and self.total > 1 and sys.stderr.isatty()
        ):
            self._bar, self._task = _make_bar(self.total)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def say_device(self, separator: Separator) -> None:
        """Say once where the network runs, and why a GPU that is there is not used."""
        if self.quiet:
            return
        remark = f" ({separator.remark})" if separator.remark else ""
        self._line(f"model {separator.name}, running on {separator.running}{remark}")

    def say(self, line: str) -> None:
        """Something that is neither a photo nor an error."""
        self._line(line)

    def warn(self, line: str) -> None:
        """Something that a person should know even of a quiet run."""
        self._line(line, error=True)

    def load(self) -> None:
        """The model is about to be loaded."""
        self._tell()

    def begin(self, path: Path) -> None:
        """A photo's turn has come."""
        self._name = escaped(str(path))
        self._tell()
        if self._bar is not None:
            self._bar.update(self._task, name=escaped(path.name)[-40:])

    def step(self, done: int, total: int) -> None:
        """The photo is so far; of methods that work in many steps, and of photos in many tiles."""
        self._tell(done / total)

    def advance(self) -> None:
        """A photo's turn is over."""
        if self._name is not None:  # and not an input that stands for no photo
            self._past += 1
            self._tell()
        if self._bar is not None:
            self._bar.advance(self._task)

    def separated(
        self,
        path: Path,
        result: Separation,
        outputs: dict[str, Path],
        seconds: float,
        lost: Sequence[str] = (),
    ) -> None:
        """A photo is done; `outputs` is where, if not on standard output, `lost` what could not be kept."""
        notes = [*result.notes, *lost]
        self.done += 1
        self.untouched += result.reflection_found is False
        self.advance()
        picture, name = result.pictures["blended"], escaped(str(path))
        if self.as_json:
            self._json(
                input=name,
                status="separated",
                **{layer: escaped(str(output)) for layer, output in outputs.items()},
                width=picture.width,
                height=picture.height,
                seconds=round(seconds, 3),
                network_seconds=round(result.seconds, 3),
                how=result.how,
                model=result.model,
                version=result.version,
                device=result.device,
                residual=round(result.residual, 5),
                reflection_found=result.reflection_found,
                notes=notes,
            )
        self.notes(name, notes)
        found = f"{NOT_FOUND}, " if result.reflection_found is False else ""
        if self.verbose:
            self._line(
                f"{name}: {found}{picture.width} x {picture.height}, {result.how}, {result.seconds:.2f} s to "
                f"separate, {seconds:.2f} s with reading and writing, residual {result.residual:.4f}"
            )
        elif self._bar is None and not self.quiet and outputs:
            written = ", ".join(escaped(str(output)) for output in outputs.values())
            self._line(f"{name}: {found}{seconds:.2f} s -> {written}")

    def notes(self, name: str, notes: Sequence[str]) -> None:
        """What a person should know of a photo that is done."""
        for note in notes:
            self._line(f"{name}: {note}")

    def skipped(self, path: Path) -> None:
        """A photo's outputs are there already."""
        self.skips += 1
        self.advance()
        if self.as_json:
            self._json(input=escaped(str(path)), status="skipped")
        if self.verbose:
            self._line(f"{escaped(str(path))}: skipped (its outputs are there already)")

    def failed(self, name: str, error: DereflectError) -> None:
        """A photo, or an input of the command line, could not be used."""
        self.failures += 1
        self.advance()
        reason = reason_of(error, name)
        if self.as_json:
            self._json(input=escaped(name), status="failed", error=reason, option=option_of(error))
        self._line(f"{escaped(name)}: {reason}", error=True)
        self.trace(error)

    def trace(self, error: Exception) -> None:
        """Where a fault that nobody foresaw came up, if that is wanted."""
        for line in trace_of(error).splitlines() if self.verbose else ():
            self._line(f"    {line}", error=True)

    def interrupted(self) -> None:
        """Ctrl-C."""
        self._line(
            f"stopped; {self.done} of {self.total} photos were separated, nothing is half-written", error=True
        )

    def finish(self, found: Found) -> int:
        """Print the counts, and give the exit code: 0 all fine, 1 some failed, 2 nothing could be done."""
        seconds = time.perf_counter() - self._started
        parts = [f"{_count(self.done, 'photo')} separated in {seconds:.1f} s"]
        if self.untouched:
            parts.append(f"in {self.untouched} of them {NOT_FOUND}")
        if self.skips:
            parts.append(f"{self.skips} skipped (outputs are there already)")
        if found.own_outputs:
            parts.append(f"{_count(found.own_outputs, 'earlier output')} skipped")
        if found.own_folders:
            parts.append(f"{_count(found.own_folders, 'folder')} of outputs skipped")
        parts += left_out_words(found.raw)
        if found.others:
            parts.append(f"{_count(found.others, 'file')} skipped (not an image)")
        if self.failures:
            parts.append(f"{self.failures} failed")
        if not self.quiet and (self.total + self.failures > 1 or len(parts) > 1 or self.verbose):
            self._line("; ".join(parts))
        if not self.failures:
            return 0
        return 1 if self.done or self.skips else 2

    def _tell(self, part: float = 0.0) -> None:
        """Say how much of the run is done, of the present photo a part."""
        if self._progress is not ProgressChoice.json:
            return
        share = (self._past + part) / max(self.total, 1)
        typer.echo(json.dumps({"progress": round(share, 4), "photo": self._name}), err=True)

    def _line(self, text: str, error: bool = False) -> None:
        if self.quiet and not error:
            return
        text = printable(text)
        if self._bar is not None:
            self._bar.console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)
        else:
            typer.echo(text, err=True)

    def _json(self, **values: Any) -> None:
        _print_json(values)


@contextlib.contextmanager
def told_to_programs(wanted: bool) -> Iterator[None]:
    """Make a fault that stops the whole run a line of JSON too, if `wanted`; no photo is its input."""
    try:
        yield
    except DereflectError as error:
        if wanted:
            _print_json(
                {"input": None, "status": "failed", "error": fault_line(error), "option": option_of(error)}
            )
        raise


def _print_json(values: dict[str, Any]) -> None:
    typer.echo(json.dumps(values))
    sys.stdout.flush()


def printable(text: str) -> str:
    """Text in one line, in which odd characters of file names are spelled out: it can be printed."""
    encoding = sys.stderr.encoding or "utf-8"
    return one_line(text).encode(encoding, "backslashreplace").decode(encoding)


def left_out_words(raw: Chosen) -> list[str]:
    """How many files were left out for raw files, or as such."""
    words = []
    if raw.twins:
        words.append(f"{_count(raw.twins, 'file')} skipped (the same photo as a file beside it)")
    if raw.unwanted:
        words.append(f"{_count(raw.unwanted, 'raw file')} skipped (--raw skip)")
    if raw.stand_ins:
        words.append(
            f"{_count(raw.stand_ins, 'raw file')} skipped for the JPEG or TIFF beside it ({missing()})"
        )
    return words


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _make_bar(total: int) -> tuple[Any, Any]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Speed(ProgressColumn):
        def render(self, task: Any) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:.2f} photos/s")

    bar = Progress(
        TextColumn("{task.fields[name]}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Speed(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        redirect_stdout=False,
    )
    return bar, bar.add_task("separate", total=total, name="")

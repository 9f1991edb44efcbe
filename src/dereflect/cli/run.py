"""The loop of `dereflect separate`: one photo after the other, each whole or not at all."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from dereflect import images
from dereflect.cli.explain import explain_paths, explained
from dereflect.cli.inputs import Found, InputFile
from dereflect.cli.options import LayerChoice, ModelOptions
from dereflect.cli.report import Report
from dereflect.cli.separate_options import FileOptions, PhotoOptions
from dereflect.cli.stopping import terminate_interrupts
from dereflect.cli.streams import OutputLost
from dereflect.errors import InputError, Option, Remedy, fault_of
from dereflect.escapes import escaped
from dereflect.images import Picture, raw
from dereflect.leftovers import sweep_once
from dereflect.methods.contract import Progress
from dereflect.separation import Separation, output_paths
from dereflect.separator import Separator

_PIPE = Path("-")
"""What standard input and output are called."""


class _Done(NamedTuple):
    """A photo that was separated."""

    result: Separation
    paths: dict[str, Path]
    seconds: float
    lost: tuple[str, ...]
    """What its format could not keep."""


@dataclass
class Run:
    """What to do with each photo."""

    separator: Separator
    files: FileOptions
    result: PhotoOptions
    mask: Picture | None = None
    strokes: Picture | None = None
    progress: Progress | None = None
    """Told of the steps within a photo."""
    _claimed: dict[str, Path] = field(default_factory=dict)
    """Outputs of this run and the photos that they belong to."""

    def all(self, photos: list[InputFile], report: Report) -> None:
        """Separate the photos; one that fails, however, is reported and does not stop the rest."""
        inputs = {_key(photo.path) for photo in photos}
        for photo in photos:
            report.begin(photo.path)
            try:
                done = self._one(photo, inputs)
            except Exception as error:  # libraries raise whatever they like at odd files
                report.failed(str(photo.path), fault_of(error, photo.path))
                continue
            if done is None:
                report.skipped(photo.path)
            else:
                report.separated(photo.path, done.result, done.paths, done.seconds, done.lost)

    def _one(self, photo: InputFile, inputs: set[str]) -> _Done | None:
        """Separate one photo; None if its outputs are there already."""
        started = time.perf_counter()
        sweep_once(self._folder(photo))
        paths = self._paths(photo)
        charts = self._charts(photo)
        outputs = paths | charts
        self._claim(photo, outputs, inputs)
        missing = self.missing(outputs)
        if not missing:
            return None
        result = self.separate(photo.path)
        contents = self.encoded(result, {name: path for name, path in missing.items() if name in paths})
        charts = {name: path for name, path in missing.items() if name in charts}
        if charts:
            contents |= explained(self.separator.method, result, charts)
        self.write(contents)
        return _Done(result, paths, time.perf_counter() - started, self.lost(result, paths))

    def lost(self, result: Separation, layers: Iterable[str]) -> tuple[str, ...]:
        """What the files of some layers could not keep of the photo."""
        return result.losses(layers, self.result.format.value, not self.result.strip_metadata)

    def missing(self, outputs: dict[str, Path]) -> dict[str, Path]:
        """Outputs that are to be written: of a photo with one of two, ``--skip-existing`` gives the other.

        Raises:
            InputError: one is there, and may neither be replaced nor skipped.
        """
        existing = [path for path in outputs.values() if os.path.lexists(path)]
        if existing and not (self.files.overwrite or self.files.skip_existing):
            remedy = Remedy(
                "{} replaces it, {} skips it", Option("overwrite", True), Option("skip_existing", True)
            )
            raise InputError(existing[0], "exists already", remedy=remedy)
        return {name: path for name, path in outputs.items() if self.files.overwrite or path not in existing}

    def encoded(self, result: Separation, paths: dict[str, Path]) -> dict[Path, bytes]:
        """The files of some layers, by path."""
        return result.encoded(paths, self.result.format.value, not self.result.strip_metadata)

    def write(self, contents: Mapping[Path, bytes]) -> None:
        """Write files; one that another run has written meanwhile is as good, if such are to be skipped."""
        for path, content in contents.items():
            try:
                images.write_bytes(content, path, self.files.overwrite)
            except InputError as error:
                if not (self.files.skip_existing and isinstance(error.__cause__, FileExistsError)):
                    raise

    def separate(self, image: Path | bytes) -> Separation:
        """Separate one picture."""
        return self.separator(
            image,
            strength=self.result.strength,
            mask=self.mask,
            strokes=self.strokes,
            progress=self.progress,
        )

    def _folder(self, photo: InputFile) -> Path:
        return photo.path.parent if self.files.output is None else self.files.output / photo.relative

    def _paths(self, photo: InputFile) -> dict[str, Path]:
        source_format, _, _ = images.probe(photo.path, self.separator.max_pixels)
        return self.outputs(self._folder(photo), photo.path.stem, source_format, photo.path.suffix)

    def outputs(self, folder: Path, stem: str, source_format: str, suffix: str) -> dict[str, Path]:
        """Where the layers of a photo go, by the layer."""
        return output_paths(
            folder,
            stem,
            source_format,
            suffix,
            (self.result.layers or LayerChoice.both).value,
            self.result.format.value,
            self.result.side_by_side,
        )

    def _charts(self, photo: InputFile) -> dict[str, Path]:
        """Where heat maps of what was invented go; none if they are not wanted."""
        if not self.result.explain:
            return {}
        return explain_paths(self.separator.method, self._folder(photo), photo.path.stem)

    def _claim(self, photo: InputFile, paths: dict[str, Path], inputs: set[str]) -> None:
        for path in paths.values():
            key = _key(path)
            if key in inputs:
                raise InputError(
                    photo.path,
                    f"its output {escaped(str(path))} is itself one of the inputs",
                    remedy=Remedy("choose another folder with {}", "output"),
                )
            if self._claimed.get(key, photo.path) != photo.path:
                raise InputError(
                    photo.path,
                    f"its output {escaped(str(path))} would be the same as that of "
                    f"{escaped(str(self._claimed[key]))}; rename one",
                )
        for path in paths.values():
            self._claimed[_key(path)] = photo.path


def make_run(model: ModelOptions, files: FileOptions, result: PhotoOptions) -> Run:
    """Load the model, the mask and the strokes.

    Raises:
        InputError, ModelError: one of them cannot be used, or the method makes no heat maps.
    """
    separator = model.load(**result.of_reading())
    if result.explain:
        explain_paths(separator.method, Path(), "")  # refuse now, not at the first photo
    drawn = (result.mask, result.strokes)
    mask, strokes = (None if path is None else images.read(path, result.max_pixels) for path in drawn)
    return Run(separator, files, result, mask, strokes)


def run_photos(found: Found, report: Report, load: Callable[[], Run]) -> int:
    """Separate all photos that were found.

    Args:
        found: the photos, and which inputs stand for none.
        report: told of everything.
        load: gives the run; called only if there is a photo.

    Returns:
        The exit code.
    """
    for error in found.errors:
        report.failed(error.subject, error)
    if found.raw.unreadable:
        report.failed(f"{found.raw.unreadable} raw files", raw.missing())
    if found.photos:
        report.load()
        run = load()
        run.progress = report.step
        report.say_device(run.separator)
        try:
            with terminate_interrupts(), report:
                run.all(found.photos, report)
        except KeyboardInterrupt:
            report.interrupted()
            return 130
    return report.finish(found)


def run_pipe(run: Run, report: Report, source: BinaryIO, target: BinaryIO) -> None:
    """Separate the picture that comes in on `source`; write one layer to `target`, or both into a folder."""
    content = source.read()
    if not content:
        raise InputError("-", "standard input is empty")
    run.progress = report.step
    report.begin(_PIPE)
    try:
        with terminate_interrupts():
            done = _to_folder(run, content) if run.files.output else _to_pipe(run, content, target)
    except OutputLost as error:  # it is all that there is, so nothing was done
        raise InputError("standard output", f"cannot be written ({error})") from error
    except Exception as error:
        report.trace(error)
        raise fault_of(error, str(_PIPE)) from error
    if done is None:
        report.skipped(_PIPE)
    else:
        report.separated(_PIPE, done.result, done.paths, done.seconds, done.lost)


def _to_folder(run: Run, content: bytes) -> _Done | None:
    """Write the layers of a picture into the output folder; None if they are there already."""
    started = time.perf_counter()
    assert run.files.output is not None
    source_format, _, _ = images.probe(content, run.separator.max_pixels)
    paths = run.outputs(run.files.output, "picture", source_format, "")
    missing = run.missing(paths)
    if not missing:
        return None
    result = run.separate(content)
    run.write(run.encoded(result, missing))
    return _Done(result, paths, time.perf_counter() - started, run.lost(result, paths))


def _to_pipe(run: Run, content: bytes, target: BinaryIO) -> _Done:
    """Write one layer of a picture to `target`."""
    started = time.perf_counter()
    result = run.separate(content)
    layer = (run.result.layers or LayerChoice.transmission).value
    [encoded] = run.encoded(result, {layer: _PIPE}).values()
    target.write(encoded)
    target.flush()
    return _Done(result, {}, time.perf_counter() - started, run.lost(result, [layer]))


def _key(path: Path) -> str:
    """One key for all spellings of a path that name the same file, as far as can be told before it exists."""
    return os.path.normcase(os.path.join(os.path.realpath(path.parent), path.name)).casefold()

"""The loop of `dereflect separate`: one photo after the other, each whole or not at all."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from dereflect import images
from dereflect.cli.explain import explain_paths, write_explanations
from dereflect.cli.inputs import Photo
from dereflect.cli.report import Report
from dereflect.errors import DereflectError, InputError, Option, Remedy
from dereflect.images.writing import target_format
from dereflect.separation import output_paths
from dereflect.separator import Separator


@dataclass
class Run:
    """What to do with each photo."""

    separator: Separator
    output: Path | None
    layers: str
    format: str
    side_by_side: bool
    skip_existing: bool
    overwrite: bool
    metadata: bool
    explain: bool
    """Whether to write heat maps of what was invented beside the layers."""
    call: dict[str, Any]
    """Arguments of each call of the separator."""
    _claimed: dict[str, Path] = field(default_factory=dict)
    """Outputs of this run and the photos that they belong to."""

    def all(self, photos: list[Photo], report: Report) -> None:
        """Separate the photos; one that fails is reported and does not stop the rest."""
        inputs = {_key(photo.path) for photo in photos}
        for photo in photos:
            report.begin(photo.path)
            try:
                self._one(photo, inputs, report)
            except DereflectError as error:
                report.failed(str(photo.path), error)

    def _one(self, photo: Photo, inputs: set[str], report: Report) -> None:
        started = time.perf_counter()
        folder = photo.path.parent if self.output is None else self.output / photo.relative
        source_format, _, _ = images.probe(photo.path, self.separator.max_pixels)
        paths = output_paths(
            folder,
            photo.path.stem,
            source_format,
            photo.path.suffix,
            self.layers,
            self.format,
            self.side_by_side,
        )
        charts = {}
        if self.explain:
            charts = explain_paths(self.separator.method, folder, photo.path.stem)
        self._claim(photo, paths | charts, inputs)
        existing = [path for path in (paths | charts).values() if os.path.lexists(path)]
        if self.skip_existing and len(existing) == len(paths | charts):
            report.skipped(photo.path)
            return
        if existing and not (self.overwrite or self.skip_existing):
            raise InputError(
                existing[0],
                "exists already",
                remedy=Remedy(
                    "{} replaces it, {} skips it", Option("overwrite", True), Option("skip_existing", True)
                ),
            )
        result = self.separator(photo.path, **self.call)
        # Skipping what is there already, a photo with one of two outputs gets the other.
        missing = {layer: path for layer, path in paths.items() if self.overwrite or path not in existing}
        result.write(missing, self.format, self.overwrite, self.metadata)
        if charts:
            write_explanations(
                self.separator.method,
                result,
                {name: path for name, path in charts.items() if self.overwrite or path not in existing},
            )
        report.separated(photo.path, result, paths, time.perf_counter() - started)

    def _claim(self, photo: Photo, paths: dict[str, Path], inputs: set[str]) -> None:
        for path in paths.values():
            key = _key(path)
            if key in inputs:
                raise InputError(
                    photo.path,
                    f"its output {path} is itself one of the inputs",
                    remedy=Remedy("choose another folder with {}", "output"),
                )
            if key in self._claimed:
                raise InputError(
                    photo.path,
                    f"its output {path} would be the same as that of {self._claimed[key]}; rename one",
                )
        for path in paths.values():
            self._claimed[_key(path)] = photo.path


def run_pipe(run: Run, source: BinaryIO, target: BinaryIO, layer: str) -> None:
    """Separate the picture that comes in on `source`; write one layer to `target`, or both into a folder."""
    content = source.read()
    if not content:
        raise InputError("-", "standard input is empty")
    try:
        result = run.separator(content, **run.call)
        if run.output is not None:
            paths = result.output_paths(run.output, run.layers, run.format)
            result.write(paths, run.format, run.overwrite, run.metadata)
            return
        picture = result.pictures[layer]
        encoded = images.encode(picture, target_format(picture.format, run.format), run.metadata)
    except InputError as error:
        raise error.about("-") from error
    target.write(encoded)
    target.flush()


def _key(path: Path) -> str:
    """One key for all spellings of a path that name the same file, as far as can be told before it exists."""
    return os.path.normcase(os.path.join(os.path.realpath(path.parent), path.name)).casefold()

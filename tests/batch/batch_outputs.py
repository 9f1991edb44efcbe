"""A batch's job, and what it leaves at its destination."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from dereflect.batch import BatchJob
from dereflect.batch.manifest import Manifest
from dereflect.batch.store import Store

MakePhotos = Callable[[int], Path]


def rows(destination: Path) -> dict[str, dict]:
    return {row["path"]: row for row in Manifest(Store(destination)).table().to_pylist()}


def job_of(source: Path, model: Path, **changes) -> BatchJob:
    destination = source.parent / "out"
    return replace(BatchJob(str(source), str(destination), str(model)), **changes)


def outputs(folder: Path) -> dict[str, bytes]:
    """Every file below a destination by its path, the runner's own folder apart."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "_dereflect" not in path.relative_to(folder).parts
    }

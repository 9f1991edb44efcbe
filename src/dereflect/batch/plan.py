"""From a source to tasks: which photos are still to be done, and which go together."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from dereflect.batch.job import LARGEST_FILE, BatchJob, Summary
from dereflect.batch.store import Store, StoredFile
from dereflect.errors import InputError
from dereflect.images import PICTURE_SUFFIXES


class BatchPhoto(NamedTuple):
    """One photo to do."""

    path: str
    size: int
    version: str
    alone: bool
    """Whether no other photo of its folder has the same name but for the extension."""


def check_stores(source: Store, destination: Store) -> None:
    """Refuse what would eat itself.

    Raises:
        InputError: the source is not there, or both are the same.
    """
    if not source.exists():
        raise InputError(source, "no such folder")
    if source.local and source.files.isfile(source.root):
        raise InputError(source, "is a file; give a folder, or use `dereflect separate`")
    if (source.protocol, source.root) == (destination.protocol, destination.root):
        raise InputError(destination, "outputs cannot go into the source itself; choose another folder")


def find_work(
    job: BatchJob, source: Store, destination: Store, known: Mapping[str, Mapping[str, Any]], summary: Summary
) -> Iterator[BatchPhoto]:
    """The photos that no earlier run has settled, one folder at a time, in the order of names.

    A photo is settled if the manifest says so for this very content and these settings, and its outputs are
    there with their full size.

    Args:
        job: what to do.
        source, destination: its stores, opened.
        known: the manifest's latest rows by path.
        summary: told how many photos were found and how many are settled.
    """
    first, step = job.shard
    fingerprint = job.fingerprint
    inside = _below(source, destination)
    number = -1
    for folder, entries in source.folders():
        if inside is not None and (folder == inside or folder.startswith(inside + "/")):
            continue
        photos = [entry for entry in entries if posixpath.splitext(entry.path)[1].lower() in PICTURE_SUFFIXES]
        stems = Counter(_stem(entry.path) for entry in photos)
        outputs: dict[str, StoredFile] | None = None
        for entry in photos:
            number += 1
            if number % step != first:
                continue
            summary.found += 1
            row = known.get(entry.path)
            if row is not None and _same(row, entry, fingerprint):
                if row["state"] == "refused" and not job.retry_refused:
                    summary.kept += 1
                    continue
                if row["state"] == "done":
                    outputs = destination.entries(folder) if outputs is None else outputs
                    if _whole(row, outputs):
                        summary.kept += 1
                        continue
            yield BatchPhoto(entry.path, entry.size, entry.version, stems[_stem(entry.path)] == 1)


def group_photos(photos: Iterable[BatchPhoto], most: int, most_bytes: int) -> Iterator[list[BatchPhoto]]:
    """Photos in tasks: up to `most` of them or `most_bytes` of files, at least one."""
    waiting: list[BatchPhoto] = []
    total = 0
    for photo in photos:
        size = min(photo.size, LARGEST_FILE)
        if waiting and (len(waiting) == most or total + size > most_bytes):
            yield waiting
            waiting, total = [], 0
        waiting.append(photo)
        total += size
    if waiting:
        yield waiting


def _same(row: Mapping[str, Any], entry: StoredFile, fingerprint: str) -> bool:
    return (
        row["source_bytes"] == entry.size
        and row["source_version"] == entry.version
        and row["fingerprint"] == fingerprint
    )


def _whole(row: Mapping[str, Any], outputs: Mapping[str, StoredFile]) -> bool:
    for layer in ("transmission", "reflection"):
        path = row[layer]
        if path and (path not in outputs or outputs[path].size != row[f"{layer}_bytes"]):
            return False
    return True


def _stem(path: str) -> str:
    return posixpath.splitext(path)[0].casefold()


def _below(source: Store, destination: Store) -> str | None:
    """Where the destination lies below the source, if it does."""
    if source.protocol != destination.protocol:
        return None
    prefix = source.root.rstrip("/") + "/"
    return destination.root.removeprefix(prefix) if destination.root.startswith(prefix) else None

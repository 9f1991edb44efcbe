"""From a source to tasks: which photos are still to be done, and which go together."""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from dereflect.batch.job import LARGEST_FILE, BatchJob, Summary
from dereflect.batch.store import Store, StoredFile
from dereflect.errors import InputError
from dereflect.images import PICTURE_SUFFIXES
from dereflect.images.containers import SUFFIXES
from dereflect.images.raw import is_here
from dereflect.images.raw_pairs import choose, is_raw
from dereflect.outputs import photo_stems


class BatchPhoto(NamedTuple):
    """One photo to do."""

    path: str
    size: int
    version: str
    alone: bool
    """Whether no other photo of its folder has the same name but for the extension."""


def check_stores(source: Store, destination: Store) -> None:
    """Refuse a source and a destination that do not go together.

    Raises:
        InputError: the source is not there, one of them is a file, or both are the same.
    """
    if not source.exists():
        raise InputError(source, "no such folder")
    if source.local and source.files.isfile(source.root):
        raise InputError(source, "is a file; give a folder, or use `dereflect separate`")
    if destination.local and destination.files.isfile(destination.root):
        raise InputError(destination, "is a file; give a folder for the outputs")
    if source.is_at("", destination):
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
        summary: told how many photos were found and how many are settled, and of folders that cannot be read.
    """
    first, step = job.shard
    fingerprint = job.fingerprint
    below = _below(destination, source)
    number = -1
    for folder, entries in source.folders(lambda path: source.is_at(path, destination), summary.note_folder):
        pictures = [entry for entry in entries if _is_picture(entry.path)]
        photos = _without_outputs(source, folder, pictures, below)
        summary.own_outputs += len(pictures) - len(photos)
        photos = _sorted_out(photos, job, summary)
        stems = Counter(_stem(entry.path) for entry in photos)
        developed = Counter(_stem(entry.path) for entry in photos if _is_written_as_tiff(entry.path))
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
            # A raw file and its JPEG are written under different names.
            rivals = developed if is_raw(entry.path) and job.format == "keep" else stems
            yield BatchPhoto(entry.path, entry.size, entry.version, rivals[_stem(entry.path)] == 1)


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


def _is_picture(path: str) -> bool:
    return posixpath.splitext(path)[1].lower() in PICTURE_SUFFIXES or is_raw(path)


def _is_written_as_tiff(path: str) -> bool:
    return is_raw(path) or posixpath.splitext(path)[1].lower() in SUFFIXES["TIFF"]


def _sorted_out(photos: list[StoredFile], job: BatchJob, summary: Summary) -> list[StoredFile]:
    """Photos of a folder but for files left out for raw files beside them, or as such."""
    chosen = choose([entry.path for entry in photos], job.raw, is_here())
    summary.raw.count(chosen)
    kept = set(chosen.names)
    return [entry for entry in photos if entry.path in kept]


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


def _without_outputs(
    source: Store, folder: str, pictures: list[StoredFile], below: str | None
) -> list[StoredFile]:
    """Pictures of a folder but for those that runs have written: named as outputs of a photo that is there.

    Args:
        source: where they are.
        folder: below the source.
        pictures: in that folder.
        below: where the source lies below the destination, if it does: outputs may lie in the source then.
    """
    if not any(photo_stems(_name(entry)) for entry in pictures):
        return pictures
    beside = {_name(entry) for entry in pictures}
    if below is not None:
        beside |= {_name(entry) for entry in source.entries(posixpath.join(below, folder)).values()}
    return [entry for entry in pictures if not photo_stems(_name(entry)) & beside]


def _name(entry: StoredFile) -> str:
    return posixpath.splitext(posixpath.basename(entry.path))[0]


def _below(upper: Store, lower: Store) -> str | None:
    """Where one store lies below another, if it does."""
    if upper.protocol != lower.protocol:
        return None
    above, root = (os.path.realpath(store.root) if store.local else store.root for store in (upper, lower))
    prefix = above.rstrip("/") + "/"
    return root.removeprefix(prefix) if root.startswith(prefix) else None

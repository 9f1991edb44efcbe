"""A batch from beginning to end: plan, work here or on a cluster, keep the manifest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dereflect.batch.job import HERE, BatchJob, Fleet, Summary
from dereflect.batch.manifest import Manifest
from dereflect.batch.plan import BatchPhoto, check_stores, find_work, group_photos
from dereflect.batch.store import Store
from dereflect.batch.work import ManifestRow, Worker

BatchEngine = Callable[[BatchJob, Iterable[list[BatchPhoto]]], Iterator[ManifestRow]]


def run_batch(
    job: BatchJob, fleet: Fleet | None = None, progress: Callable[[ManifestRow, Summary], None] | None = None
) -> Summary:
    """Do what is still to be done of a batch.

    Every photo ends in the manifest, whether it was separated, refused or failed. A run that stops anywhere,
    and however, is taken up by running it again.

    Args:
        job: what to do.
        fleet: on which machines; in this process, if not given.
        progress: told of each row as it comes in.

    Raises:
        InputError: the source or destination cannot be used.
        ModelError: the model cannot be loaded.
        MissingExtra: a package of the ``batch`` extra is not installed.
    """
    started = time.perf_counter()
    fleet = fleet or Fleet()
    source, destination = Store(job.source), Store(job.destination)
    check_stores(source, destination)
    manifest = Manifest(destination)
    summary = Summary()
    alone = job.shard == (0, 1)
    if alone:
        destination.clear_staging()
    photos = find_work(job, source, destination, manifest.read(), summary)
    groups = group_photos(photos, job.group, job.group_bytes)
    try:
        for row in _engine(fleet)(job, groups):
            manifest.add(row)
            summary.count(row)
            if progress is not None:
                progress(row, summary)
    finally:
        manifest.flush()
    if alone:
        manifest.compact()
        destination.clear_staging()
    summary.seconds = time.perf_counter() - started
    return summary


def _engine(fleet: Fleet) -> BatchEngine:
    if fleet.address == HERE:
        return run_here
    from dereflect.batch.cluster import run_on_cluster

    def engine(job: BatchJob, groups: Iterable[list[BatchPhoto]]) -> Iterator[ManifestRow]:
        return run_on_cluster(job, groups, fleet)

    return engine


def run_here(job: BatchJob, groups: Iterable[list[BatchPhoto]], worker: Any = None) -> Iterator[ManifestRow]:
    """Do everything in this process, with one model, group after group."""
    for group in groups:
        worker = worker or Worker(job)  # not before there is something to do
        yield from worker.work(group)

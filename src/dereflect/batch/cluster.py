"""The same work on a Ray cluster: one model a worker, tasks of a few photos, and deaths that cost one photo.

Ray Data restarts a worker that died and runs its task again. The ledger, a small actor that holds no photo,
remembers what of an unfinished task is done already, and which photos were begun and never ended: those are
run alone, and given up after some attempts, so one bad photo cannot hold up the rest.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from dereflect.batch.job import ATTEMPTS, BatchJob, Fleet
from dereflect.batch.plan import BatchPhoto
from dereflect.batch.work import ManifestRow, Worker, given_up
from dereflect.errors import InputError, MissingExtra, Remedy, first_line
from dereflect.escapes import escaped

GROUPS_A_ROUND = 4096
"""Tasks handed to Ray at a time: bounds the driver's memory, whatever the number of photos."""


class Ledger:
    """What workers have begun and finished, of tasks whose rows have not come back yet."""

    def __init__(self) -> None:
        self.begun: Counter[str] = Counter()
        self.rows: dict[str, ManifestRow] = {}

    def begin(self, path: str) -> None:
        """A worker is about to decode this photo."""
        self.begun[path] += 1

    def finish(self, row: ManifestRow) -> ManifestRow:
        """A photo is settled; returns its row with the number of attempts it took."""
        row["attempts"] = max(1, self.begun[row["path"]])
        self.rows[row["path"]] = row
        return row

    def recall(self, paths: list[str]) -> tuple[dict[str, ManifestRow], dict[str, int]]:
        """Of a task's photos: the rows of finished ones, and how often each of the others was begun."""
        rows = {path: self.rows[path] for path in paths if path in self.rows}
        return rows, {path: self.begun[path] for path in paths if path not in rows and self.begun[path]}

    def forget(self, paths: list[str]) -> None:
        """The rows of these have come back."""
        for path in paths:
            self.rows.pop(path, None)
            self.begun.pop(path, None)


class ClusterWorker:
    """A worker as Ray Data builds it: takes tasks, gives rows."""

    def __init__(self, job: BatchJob, ledger: Any, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.job = job
        self.ledger = ledger
        self.worker = Worker(job)

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Do one task; rows go back as JSON, whose types cannot drift on the way."""
        for text in batch["task"]:
            photos = [BatchPhoto(*fields) for fields in json.loads(str(text))]
            rows = [json.dumps(row) for row in self._do(photos)]
            yield {"row": rows}

    def _do(self, photos: list[BatchPhoto]) -> Iterator[ManifestRow]:
        import ray

        # Escaped, as in rows: a name that is no text cannot be an argument of a remote call.
        rows, begun = ray.get(self.ledger.recall.remote([escaped(photo.path) for photo in photos]))
        yield from rows.values()
        rest = [photo for photo in photos if escaped(photo.path) not in rows]
        yield from self._finish(photo for photo in rest if escaped(photo.path) not in begun)
        for photo in rest:
            attempts = begun.get(escaped(photo.path), 0)
            if attempts >= ATTEMPTS:
                yield given_up(photo, self.job, attempts)
            elif attempts:
                yield from self._finish([photo])

    def _finish(self, photos: Iterable[BatchPhoto]) -> Iterator[ManifestRow]:
        import ray

        # The ledger must have noted a photo before it is touched, or a death would not count: hence `get`.
        for row in self.worker.work(
            photos, lambda photo: ray.get(self.ledger.begin.remote(escaped(photo.path)))
        ):
            yield ray.get(self.ledger.finish.remote(row))


def run_on_cluster(
    job: BatchJob, groups: Iterable[list[BatchPhoto]], fleet: Fleet, kind: type[ClusterWorker] = ClusterWorker
) -> Iterator[ManifestRow]:
    """Do groups of photos on a cluster; rows come in no particular order.

    Args:
        job: what to do.
        groups: photos, task by task.
        fleet: how many workers, and what each needs.
        kind: class of the workers.

    Raises:
        InputError: no cluster at the address, or none with what a worker needs.
        MissingExtra: Ray is not installed.
    """
    groups = iter(groups)
    tasks = list(islice(groups, GROUPS_A_ROUND))
    if not tasks:
        return
    ray, ours = _connect(fleet)
    try:
        workers = fleet.workers or _room(ray, fleet)
        ledger = ray.remote(Ledger).options(num_cpus=0).remote()
        while tasks:
            data = ray.data.from_items(
                [{"task": json.dumps(photos)} for photos in tasks], override_num_blocks=len(tasks)
            ).map_batches(
                kind,
                fn_constructor_args=(job, ledger, max(1, int(fleet.cpus))),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=min(workers, len(tasks))),
                num_cpus=fleet.cpus,
                num_gpus=fleet.gpus or None,
            )
            for batch in data.iter_batches(batch_size=None, prefetch_batches=0):
                rows = [json.loads(str(text)) for text in batch["row"]]
                ledger.forget.remote([row["path"] for row in rows])
                yield from rows
            tasks = list(islice(groups, GROUPS_A_ROUND))
        ray.kill(ledger)
    finally:
        if ours:
            ray.shutdown()


def _connect(fleet: Fleet) -> tuple[Any, bool]:
    """Ray, connected, and whether it was us who connected it."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtra("ray", "batch", "dereflect batch on a cluster") from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    if ray.is_initialized():
        return ray, False
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    told = os.environ.get("RAY_ADDRESS") if fleet.address == "auto" else None
    address = told or fleet.address
    try:
        if address == "auto":
            try:
                ray.init(address="auto", **quiet)
            except ConnectionError:  # none is running here: one of our own, for this machine alone
                ray.init(include_dashboard=False, _node_ip_address="127.0.0.1", **quiet)
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = f"no Ray cluster answers there ({first_line(error)})"
        if told:
            raise InputError(f"RAY_ADDRESS {told}", reason) from error
        raise InputError(address, reason, option="address") from error
    return ray, True


def _room(ray: Any, fleet: Fleet) -> int:
    """How many workers the cluster has room for."""
    have = ray.cluster_resources()
    room = int(have.get("CPU", 0) // fleet.cpus) if fleet.cpus else 1 << 30
    if fleet.gpus:
        room = min(room, int(have.get("GPU", 0) / fleet.gpus))
    if room < 1:
        raise InputError(
            "the cluster",
            f"has {have.get('CPU', 0):g} cores and {have.get('GPU', 0):g} GPUs, and a worker needs "
            f"{fleet.cpus:g} and {fleet.gpus:g}",
            remedy=Remedy("ask for less with {} or {}", "cpus", "gpus"),
        )
    return room

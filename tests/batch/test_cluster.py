"""Workers of a real (local) Ray cluster, killed without warning."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from batch_outputs import outputs
from PIL import Image

from dereflect.batch import BatchJob, Summary, run_batch
from dereflect.batch.cluster import ClusterWorker, run_on_cluster
from dereflect.batch.job import ATTEMPTS, Fleet
from dereflect.batch.manifest import Manifest
from dereflect.batch.plan import find_work, group_photos
from dereflect.batch.store import Store

ray = pytest.importorskip("ray")

pytestmark = pytest.mark.slow

FLEET = Fleet(address="auto", workers=2, cpus=1.0)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, _source_on_path_of_child_processes: None) -> Iterator[None]:
    """Two cores, on the loopback address alone, with nothing left behind."""
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_PROMETHEUS_ENABLED", "RAY_enable_metrics_collection"):
        monkeypatch.setenv(name, "0")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    ray.init(
        num_cpus=2,
        object_store_memory=200 << 20,
        include_dashboard=False,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
    )
    yield
    ray.shutdown()


def worker_processes() -> list[int]:
    """Ids of the photo workers among this process's own descendants."""
    parents, names = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                status = (folder / "stat").read_text().rpartition(") ")[2].split()
                names[int(folder.name)] = (folder / "cmdline").read_bytes()
                parents[int(folder.name)] = int(status[1])
            except OSError:  # it is gone
                continue

    def ours(process: int) -> bool:
        while process in parents:
            process = parents[process]
            if process == os.getpid():
                return True
        return False

    return [pid for pid, name in names.items() if name.startswith(b"ray::MapWorker(") and ours(pid)]


def test_killed_workers_cost_no_photo(
    cluster: None, photos: Callable[[int], Path], tiny_model: Path, tmp_path: Path
):
    source, out = photos(200), tmp_path / "out"
    job = BatchJob(
        str(source), str(out), str(tiny_model), settings={"dtype": "float32", "device": "cpu"}, group=8
    )
    kills: list[int] = []
    stop = threading.Event()

    def kill_at_random() -> None:
        chance = random.Random(3)
        for threshold in (30, 100, 170, 240, 310):
            while not stop.is_set() and (not out.exists() or len(outputs(out)) < threshold):
                time.sleep(0.01)
            if not stop.is_set() and (victims := sorted(worker_processes())):
                kills.append(chance.choice(victims))
                os.kill(kills[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill_at_random)
    killer.start()
    try:
        summary = run_batch(job, FLEET)
    finally:
        stop.set()
        killer.join()
    assert len(kills) >= 3
    assert (summary.found, summary.done, summary.refused, summary.failed) == (200, 200, 0, 0)

    single = replace(job, destination=str(tmp_path / "single"))
    assert run_batch(single).done == 200
    assert outputs(out) == outputs(tmp_path / "single")
    assert len(outputs(out)) == 400

    rows = Manifest(Store(out)).table().to_pylist()
    assert len(rows) == 200
    # A death costs the photo at work and those being written, and nothing that was finished.
    again = sum(row["attempts"] - 1 for row in rows)
    assert again <= 4 * len(kills)
    assert run_batch(job, FLEET).kept == 200


def test_a_photo_that_kills_its_worker_is_given_up(
    cluster: None, photos: Callable[[int], Path], tiny_model: Path, tmp_path: Path
):
    source = photos(9)
    Image.new("RGB", (77, 66), "grey").save(source / "deadly.png")
    destination = tmp_path / "out"
    job = BatchJob(str(source), str(destination), str(tiny_model))

    class Fragile(ClusterWorker):  # a class within a function travels to the workers whole
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            separate = self.worker.separator

            def die_of_one(picture: Any, **settings: Any) -> Any:
                if picture.width == 77:
                    os.kill(os.getpid(), signal.SIGKILL)
                return separate(picture, **settings)

            self.worker.separator = type("Deadly", (), {"name": "x", "__call__": staticmethod(die_of_one)})()

    todo = find_work(job, Store(source), Store(destination), {}, Summary())
    rows = {row["path"]: row for row in run_on_cluster(job, group_photos(todo, 4, 1 << 30), FLEET, Fragile)}
    assert len(rows) == 10
    assert rows["deadly.png"]["state"] == "refused"
    assert rows["deadly.png"]["attempts"] == ATTEMPTS
    assert "worker died 3 times" in rows["deadly.png"]["error"]
    assert sum(row["state"] == "done" for row in rows.values()) == 9

"""Batches from bucket to bucket: a real S3 client against a local S3 server."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from batch_outputs import outputs

from dereflect.batch import BatchJob, run_batch
from dereflect.batch.manifest import Manifest
from dereflect.batch.store import Store
from dereflect.errors import InputError

pytest.importorskip("s3fs", reason="needs the extra 'bucket'")
moto_server = pytest.importorskip("moto.server", reason="needs the extra 'bucket'")

MakePhotos = Callable[[int], Path]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = moto_server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The address of an empty bucket, found as users say it: by the environment."""
    import s3fs

    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    name = "photos-of-" + tmp_path.name.replace("_", "-")[:40].strip("-").lower()
    s3fs.S3FileSystem().mkdir(name)
    yield f"s3://{name}"
    s3fs.S3FileSystem.clear_instance_cache()


def upload(source: Path, address: str) -> None:
    store = Store(address)
    for path in source.rglob("*.*"):
        store.write(path.relative_to(source).as_posix(), path.read_bytes())


def objects(address: str) -> dict[str, bytes]:
    store = Store(address)
    return {
        entry.path: store.read(entry.path)
        for _, entries in store.folders()
        for entry in entries
        if not entry.path.startswith("_dereflect/")
    }


def expected(source: Path, model: Path, tmp_path: Path) -> dict[str, bytes]:
    run_batch(BatchJob(str(source), str(tmp_path / "expected"), str(model)))
    return outputs(tmp_path / "expected")


def test_a_bucket_gets_the_same_bytes_as_a_folder(
    photos: MakePhotos, tiny_model: Path, tmp_path: Path, bucket: str
):
    source = photos(6)
    upload(source, f"{bucket}/in")
    job = BatchJob(f"{bucket}/in", f"{bucket}/out", str(tiny_model))
    assert run_batch(job).done == 6
    assert objects(f"{bucket}/out") == expected(source, tiny_model, tmp_path)
    assert not Store(f"{bucket}/out").entries("_dereflect/staging")  # a put needs no move
    rows = Manifest(Store(f"{bucket}/out")).table().to_pylist()
    assert {row["state"] for row in rows} == {"done"}
    assert all(row["source_version"] for row in rows)  # the entity tags


def test_only_what_is_missing_or_changed_is_done_again(photos: MakePhotos, tiny_model: Path, bucket: str):
    upload(photos(4), f"{bucket}/in")
    job = BatchJob(f"{bucket}/in", f"{bucket}/out", str(tiny_model))
    assert run_batch(job).done == 4
    assert run_batch(job).kept == 4
    whole = objects(f"{bucket}/out")
    Store(f"{bucket}/out").remove(sorted(whole)[0])
    assert (run_batch(job).done, objects(f"{bucket}/out")) == (1, whole)
    inside = Store(f"{bucket}/in")
    inside.write("photo002.jpg", inside.read("a/photo003.jpg"))  # another entity tag
    assert run_batch(job).done == 1
    inside.write("photo002.jpg", b"#!/bin/sh")
    assert run_batch(job).refused == 1


def test_a_store_that_cannot_be_reached_is_said_so(tiny_model: Path, bucket: str, monkeypatch):
    import s3fs

    run = BatchJob(f"{bucket}/in", f"{bucket}/out", str(tiny_model))
    with pytest.raises(InputError, match="no such folder"):
        run_batch(run)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(InputError, match=r"cannot be reached .*Could not connect"):
        run_batch(run)


@pytest.mark.slow
def test_the_command_line_killed_in_the_middle_goes_on(
    photos: MakePhotos, tiny_model: Path, tmp_path: Path, bucket: str
):
    source = photos(12)
    upload(source, f"{bucket}/in")
    words = [sys.executable, "-m", "dereflect", "batch", f"{bucket}/in", f"{bucket}/out"]
    words += ["--model", str(tiny_model), "--address", "none"]
    with subprocess.Popen([*words, "--json"], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for _ in range(4):
            assert running.stdout.readline()
        os.kill(running.pid, signal.SIGKILL)
    there, whole = objects(f"{bucket}/out"), expected(source, tiny_model, tmp_path)
    assert 8 <= len(there) < 24
    assert there.items() <= whole.items()  # nothing is there in part
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert objects(f"{bucket}/out") == whole

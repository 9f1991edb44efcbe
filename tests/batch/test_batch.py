"""The batch runner's logic, in one process: no cluster is needed for any of it."""

import json
import os
import struct
import subprocess
import sys
import types
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from batch_outputs import MakePhotos, job_of, outputs, rows
from PIL import Image

from dereflect import load
from dereflect.batch import BatchJob, run_batch
from dereflect.batch.cluster import Ledger, _connect
from dereflect.batch.job import Fleet, Summary
from dereflect.batch.manifest import FOLDER
from dereflect.batch.plan import BatchPhoto, find_work, group_photos
from dereflect.batch.store import STAGING, Store
from dereflect.batch.work import Worker
from dereflect.errors import InputError


def test_outputs_equal_single_runs_and_repeat_the_tree(photos: MakePhotos, tiny_model: Path, tmp_path: Path):
    source = photos(6)
    summary = run_batch(job_of(source, tiny_model, settings={"dtype": "float32"}))
    assert (summary.found, summary.done, summary.kept) == (6, 6, 0)
    separator = load(tiny_model, dtype="float32")
    expected = tmp_path / "expected"
    for path in source.rglob("*.*"):
        separator(path).save(expected / path.parent.relative_to(source))
    assert outputs(tmp_path / "out") == outputs(expected)
    assert len(outputs(expected)) == 12


def test_a_second_run_does_only_what_is_missing(photos: MakePhotos, tiny_model: Path, tmp_path: Path):
    source, out = photos(5), tmp_path / "out"
    job = job_of(source, tiny_model)
    run_batch(job)
    before = outputs(out)
    times = {path: (out / path).stat().st_mtime_ns for path in before}
    gone, cut = sorted(before)[0], sorted(before)[-1]
    (out / gone).unlink()
    (out / cut).write_bytes(before[cut][:100])
    summary = run_batch(job)
    assert (summary.found, summary.kept, summary.done) == (5, 3, 2)
    assert outputs(out) == before
    again = {path for path in before if (out / path).stat().st_mtime_ns != times[path]}
    assert {Path(path).name.split("_")[0] for path in again} == {
        Path(path).name.split("_")[0] for path in (gone, cut)
    }
    assert run_batch(job).kept == 5


def test_a_changed_photo_or_setting_is_done_anew(photos: MakePhotos, tiny_model: Path):
    source = photos(3)
    job = job_of(source, tiny_model)
    run_batch(job)
    Image.new("RGB", (64, 64), (200, 10, 10)).save(source / "photo002.jpg")
    assert run_batch(job).done == 1
    other = replace(job, strength=0.5)
    assert other.fingerprint != job.fingerprint
    assert run_batch(other).done == 3


def test_poison_pictures_land_in_the_manifest(photos: MakePhotos, tiny_model: Path, tmp_path: Path):
    source = photos(3)
    good = next(source.rglob("*.jpg")).read_bytes()
    (source / "cut.jpg").write_bytes(good[: len(good) // 2])
    (source / "empty.png").touch()
    (source / "script.jpg").write_text("#!/bin/sh\nrm -rf /\n")
    header = b"IHDR" + struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    bomb += struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    (source / "bomb.png").write_bytes(bomb)
    os.mkfifo(source / "pipe.jpg")  # opening it would wait for ever
    summary = run_batch(job_of(source, tiny_model))
    assert (summary.done, summary.refused, summary.failed) == (3, 4, 0)
    found = rows(tmp_path / "out")
    assert "900 megapixels" in found["bomb.png"]["error"]
    assert "empty" in found["empty.png"]["error"]
    assert "damaged" in found["cut.jpg"]["error"]
    assert "not a picture" in found["script.jpg"]["error"]
    assert len(outputs(tmp_path / "out")) == 6
    # Refusals are settled; they are tried again on request only.
    assert run_batch(job_of(source, tiny_model)).kept == 7
    assert run_batch(job_of(source, tiny_model, retry_refused=True)).refused == 4


def test_a_fault_of_the_machine_is_tried_again(
    photos: MakePhotos, tiny_model: Path, tmp_path: Path, monkeypatch
):
    source = photos(3)
    write, broken = Store.write, "photo001"

    def full_disk(self: Store, path: str, content: bytes) -> None:
        if broken in path:
            raise OSError(28, "No space left on device")
        write(self, path, content)

    monkeypatch.setattr(Store, "write", full_disk)
    summary = run_batch(job_of(source, tiny_model))
    assert (summary.done, summary.failed) == (2, 1)
    assert "No space left" in summary.errors[0][1]
    monkeypatch.undo()
    summary = run_batch(job_of(source, tiny_model))
    assert (summary.kept, summary.done) == (2, 1)
    assert {row["state"] for row in rows(tmp_path / "out").values()} == {"done"}


def test_names_that_would_collide_are_refused(tiny_model: Path, tmp_path: Path):
    source = tmp_path / "photos"
    source.mkdir()
    for suffix in ("png", "gif", "jpg"):
        Image.new("RGB", (64, 64), "grey").save(source / f"twin.{suffix}")
    summary = run_batch(job_of(source, tiny_model))
    assert (summary.done, summary.refused) == (2, 1)
    assert rows(tmp_path / "out")["twin.gif"]["state"] == "refused"  # it would have become a PNG


def test_batches_of_one_size_give_nearly_the_same(photos: MakePhotos, tiny_model: Path, tmp_path: Path):
    source = photos(8)
    job = job_of(source, tiny_model, format="png", settings={"dtype": "float32"})
    run_batch(job)
    batched = replace(job, destination=str(tmp_path / "batched"), batch_size=3)
    assert run_batch(batched).done == 8
    one, many = outputs(tmp_path / "out"), outputs(tmp_path / "batched")
    assert sorted(one) == sorted(many)
    for path in one:
        first, second = (
            np.asarray(Image.open(tmp_path / folder / path), np.int16) for folder in ("out", "batched")
        )
        assert np.abs(first - second).max() <= 1


def test_shards_cover_everything_once(photos: MakePhotos, tiny_model: Path, tmp_path: Path):
    source = photos(7)
    done = [run_batch(job_of(source, tiny_model, shard=(index, 3))).done for index in range(3)]
    assert sum(done) == 7
    assert len(outputs(tmp_path / "out")) == 14
    assert run_batch(job_of(source, tiny_model)).kept == 7
    assert (
        len(list((tmp_path / "out" / FOLDER).iterdir())) == 1
    )  # the run that was alone made one part of all


def test_a_destination_inside_the_source_is_not_read(photos: MakePhotos, tiny_model: Path):
    source = photos(3)
    job = job_of(source, tiny_model, destination=str(source / "out"))
    assert run_batch(job).done == 3
    assert run_batch(job).found == 3


@pytest.mark.parametrize(
    ("destination", "fault"), [("photos", "source itself"), ("photos/.", "source itself")]
)
def test_the_source_as_destination_is_refused(
    photos: MakePhotos, tiny_model: Path, tmp_path: Path, destination: str, fault: str
):
    with pytest.raises(InputError, match=fault):
        run_batch(job_of(photos(1), tiny_model, destination=str(tmp_path / destination)))


def test_sources_that_are_not_there_are_refused(tiny_model: Path, tmp_path: Path):
    with pytest.raises(InputError, match="no such folder"):
        run_batch(job_of(tmp_path / "nowhere", tiny_model))
    with pytest.raises(InputError, match="not an address"):
        run_batch(BatchJob("nosuch://bucket/x", str(tmp_path), str(tiny_model)))


def test_an_object_store_works_like_a_folder(photos: MakePhotos, tiny_model: Path, tmp_path: Path):
    import fsspec

    source = photos(4)
    memory = fsspec.filesystem("memory")
    for path in source.rglob("*.*"):
        memory.pipe_file(f"/bucket/in/{path.relative_to(source).as_posix()}", path.read_bytes())
    job = BatchJob("memory://bucket/in", "memory://bucket/out", str(tiny_model))
    assert run_batch(job).done == 4
    assert run_batch(job).kept == 4
    run_batch(job_of(source, tiny_model))
    for path, content in outputs(tmp_path / "out").items():
        assert memory.cat_file(f"/bucket/out/{path}") == content
    memory.pipe_file("/bucket/in/photo002.jpg", b"not the same any more")
    assert run_batch(job).refused == 1


def test_writes_are_whole_or_not_at_all(tmp_path: Path, monkeypatch):
    store = Store(tmp_path)
    store.write("a/b.bin", b"first")

    def die(*_: object) -> None:
        raise OSError("the machine went away")

    monkeypatch.setattr(os, "replace", die)
    with pytest.raises(OSError, match="went away"):
        store.write("a/b.bin", b"second")
    assert (tmp_path / "a/b.bin").read_bytes() == b"first"
    assert not list((tmp_path / STAGING).iterdir())


def test_what_killed_writers_left_is_cleared(photos: MakePhotos, tiny_model: Path, tmp_path: Path):
    staging = tmp_path / "out" / STAGING
    staging.mkdir(parents=True)
    (staging / "1-abc.part").write_bytes(b"half")
    run_batch(job_of(photos(1), tiny_model))
    assert not staging.exists()


def test_a_run_that_is_killed_is_taken_up(photos: MakePhotos, tiny_model: Path, tmp_path: Path):
    source = photos(12)
    script = f"""
import os, signal
from dereflect.batch import BatchJob, run_batch
def kill_at_five(row, summary):
    if summary.done == 5:
        os.kill(os.getpid(), signal.SIGKILL)
run_batch(BatchJob({str(source)!r}, {str(tmp_path / "out")!r}, {str(tiny_model)!r}), progress=kill_at_five)
"""
    died = subprocess.run([sys.executable, "-c", script], timeout=120, check=False)
    assert died.returncode == -9
    there = outputs(tmp_path / "out")
    assert 10 <= len(there) < 24
    assert run_batch(job_of(source, tiny_model)).done == 12  # its manifest had not been written yet
    assert len(outputs(tmp_path / "out")) == 24
    assert there.items() <= outputs(tmp_path / "out").items()


def test_groups_are_bounded_by_number_and_bytes():
    photos = [
        BatchPhoto(f"{size}-{index}", size, "", True) for index, size in enumerate([1, 1, 1, 9, 9, 1, 1])
    ]
    groups = list(group_photos(photos, 3, 10))
    assert [[photo.size for photo in group] for group in groups] == [[1, 1, 1], [9], [9, 1], [1]]


def test_listing_passes_over_links_that_go_in_circles(photos: MakePhotos, tiny_model: Path, tmp_path: Path):
    source = photos(3)
    (source / "a" / "loop").symlink_to(source, target_is_directory=True)
    (source / ".hidden").mkdir()
    Image.new("RGB", (64, 64)).save(source / ".hidden" / "x.png")
    job = job_of(source, tiny_model)
    found = list(find_work(job, Store(source), Store(tmp_path / "out"), {}, Summary()))
    assert len(found) == 3


def test_the_ledger_remembers_an_unfinished_task():
    ledger = Ledger()
    for path in ("a", "b"):
        ledger.begin(path)
    ledger.finish({"path": "a"})
    rows, begun = ledger.recall(["a", "b", "c"])
    assert rows == {"a": {"path": "a", "attempts": 1}}
    assert begun == {"b": 1}
    ledger.forget(["a", "b"])
    assert ledger.recall(["a", "b", "c"]) == ({}, {})


def test_photos_are_begun_one_after_the_other(photos: MakePhotos, tiny_model: Path, tmp_path: Path):
    source = photos(4)
    job = job_of(source, tiny_model)
    todo = list(find_work(job, Store(source), Store(tmp_path / "out"), {}, Summary()))
    begun: list[str] = []
    done = [row["path"] for row in Worker(job).work(todo, lambda photo: begun.append(photo.path))]
    assert begun == done == [photo.path for photo in todo]


def test_command_line(photos: MakePhotos, tiny_model: Path, tmp_path: Path, capsys, monkeypatch):
    from dereflect.cli import main

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dereflect", "batch", *words])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return end.value.code, said.out, said.err

    source = photos(3)
    (source / "bad.png").write_text("no")
    words = [str(source), str(tmp_path / "out"), "--model", str(tiny_model), "--address", "none"]
    code, out, err = run(*words, "--json")
    assert code == 1
    assert "bad.png: is not a picture" in err
    assert [json.loads(line)["state"] for line in out.splitlines()].count("done") == 3
    code, out, err = run(*words)
    assert (code, out) == (0, "")
    assert "4 done or refused by an earlier run" in err
    code, out, err = run(str(tmp_path / "nowhere"), str(tmp_path / "out"))
    assert (code, err) == (2, f"dereflect: {tmp_path / 'nowhere'}: no such folder\n")


def test_a_file_or_an_empty_word_as_destination_is_refused_before_any_work(
    photos: MakePhotos, tiny_model: Path, tmp_path: Path, monkeypatch
):
    source = photos(1)
    (tmp_path / "taken").write_text("mine")
    monkeypatch.setattr(Worker, "work", None)
    with pytest.raises(InputError, match="taken: is a file; give a folder"):
        run_batch(job_of(source, tiny_model, destination=str(tmp_path / "taken")))
    for ends in ({"source": ""}, {"destination": ""}):
        with pytest.raises(InputError, match="an empty word is no folder"):
            run_batch(replace(job_of(source, tiny_model), **ends))


@pytest.mark.parametrize(
    ("given", "variable", "asked", "named"),
    [
        ("ray://own:1", "ray://other:2", "ray://own:1", "address ray://own:1"),
        ("auto", "ray://other:2", "ray://other:2", "RAY_ADDRESS ray://other:2"),
    ],
)
def test_an_address_that_is_given_comes_before_the_environments(monkeypatch, given, variable, asked, named):
    tried = []

    def init(address: str, **_: object) -> None:
        tried.append(address)
        raise ConnectionError("nobody is there")

    ray = types.ModuleType("ray")
    ray.data = types.ModuleType("ray.data")
    context = types.SimpleNamespace(get_current=types.SimpleNamespace)
    ray.data.DataContext, ray.is_initialized, ray.init = context, lambda: False, init
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", ray.data)
    monkeypatch.setenv("RAY_ADDRESS", variable)
    with pytest.raises(InputError) as caught:
        _connect(Fleet(given))
    assert tried == [asked]
    assert str(caught.value) == f"{named}: no Ray cluster answers there (nobody is there)"

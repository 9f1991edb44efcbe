"""The batch runner's logic, in one process: no cluster is needed for any of it."""

import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from batch_outputs import outputs
from PIL import Image

from dereflect import load
from dereflect.batch import BatchJob, run_batch
from dereflect.batch.cluster import Ledger
from dereflect.batch.job import Summary
from dereflect.batch.manifest import FOLDER, NOTHING, Manifest
from dereflect.batch.plan import BatchPhoto, find_work, group_photos
from dereflect.batch.store import STAGING, Store
from dereflect.batch.work import Worker
from dereflect.errors import InputError

MakePhotos = Callable[[int], Path]


def rows(destination: Path) -> dict[str, dict]:
    return {row["path"]: row for row in Manifest(Store(destination)).table().to_pylist()}


def job_of(source: Path, model: Path, **changes) -> BatchJob:
    destination = source.parent / "out"
    return replace(BatchJob(str(source), str(destination), str(model)), **changes)


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


def test_manifest_holds_what_separate_notes(tiny_model: Path, tmp_path: Path):
    source = tmp_path / "photos"
    source.mkdir()
    whole = Image.new("RGB", (48, 32), (90, 120, 60))
    whole.save(source / "plain.png")
    whole.save(source / "cut.jpg", comment=b"by hand")
    (source / "cut.jpg").write_bytes((source / "cut.jpg").read_bytes()[:-2])
    summary = run_batch(job_of(source, tiny_model, format="webp"))
    separator = load(tiny_model)
    found = rows(tmp_path / "out")
    for path in source.iterdir():
        result = separator(path)
        assert found[path.name]["notes"] == [*result.notes, *result.losses(["transmission"], "webp")], (
            path.name
        )
    assert [bool(found[name]["notes"]) for name in ("plain.png", "cut.jpg")] == [False, True]
    assert len(found["cut.jpg"]["notes"]) == 2  # of reading and of writing
    assert summary.noted == 1


def test_a_manifest_without_notes_is_read_on(tmp_path: Path):
    """Parts that an earlier version has written lack the column."""
    import pyarrow.parquet

    manifest = Manifest(Store(tmp_path))
    manifest.add(NOTHING | {"path": "a.jpg", "state": "done", "finished": 1.0})
    manifest.flush()
    (part,) = (tmp_path / FOLDER).iterdir()
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(part).drop_columns("notes"), part)
    manifest.add(NOTHING | {"path": "b.jpg", "state": "done", "finished": 1.0, "notes": ["cut"]})
    manifest.compact()
    assert [row["notes"] for row in Manifest(Store(tmp_path)).table().to_pylist()] == [None, ["cut"]]
    assert sorted(manifest.read()) == ["a.jpg", "b.jpg"]


def test_manifest_holds_every_photo_with_checksums(photos: MakePhotos, tiny_model: Path, tmp_path: Path):
    import hashlib

    source = photos(4)
    run_batch(job_of(source, tiny_model))
    found = rows(tmp_path / "out")
    assert sorted(found) == sorted(p.relative_to(source).as_posix() for p in source.rglob("*.*"))
    for path, row in found.items():
        assert row["state"] == "done"
        assert row["attempts"] == 1
        assert row["source_sha256"] == hashlib.sha256((source / path).read_bytes()).hexdigest()
        for layer in ("transmission", "reflection"):
            content = (tmp_path / "out" / row[layer]).read_bytes()
            assert row[f"{layer}_bytes"] == len(content)
            assert row[f"{layer}_sha256"] == hashlib.sha256(content).hexdigest()


def test_manifest_and_summary_say_where_no_reflection_was_found(
    photos: MakePhotos, tiny_model: Path, tmp_path: Path
):
    job = job_of(photos(3), tiny_model)
    summary = run_batch(job)
    assert summary.untouched == 3  # a fresh model changes next to nothing
    assert {row["reflection_found"] for row in rows(tmp_path / "out").values()} == {False}


def test_a_manifest_of_an_earlier_version_lacks_columns_and_counts(tmp_path: Path):
    import pyarrow.parquet

    manifest = Manifest(Store(tmp_path))
    manifest.add(NOTHING | {"path": "a.png", "state": "done", "finished": 1.0})
    manifest.flush()
    part = next((tmp_path / FOLDER).iterdir())
    table = pyarrow.parquet.read_table(part).drop_columns("reflection_found")
    pyarrow.parquet.write_table(table, part)
    manifest.add(NOTHING | {"path": "b.png", "state": "done", "finished": 2.0, "reflection_found": True})
    manifest.flush()
    found = {row["path"]: row["reflection_found"] for row in manifest.table().to_pylist()}
    assert found == {"a.png": None, "b.png": True}


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


def test_rows_reach_the_manifest_while_a_run_goes_on(tmp_path: Path):
    manifest = Manifest(Store(tmp_path), rows_a_part=2, seconds_a_part=1e9)
    for number in range(5):
        manifest.add(NOTHING | {"path": f"{number}.jpg", "state": "done", "finished": float(number)})
    assert sorted(Manifest(Store(tmp_path)).read()) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]


def test_a_store_that_is_away_for_a_moment_loses_no_row(tmp_path: Path, monkeypatch):
    manifest = Manifest(Store(tmp_path), rows_a_part=2)
    write = Store.write
    monkeypatch.setattr(Store, "write", lambda *_: (_ for _ in ()).throw(OSError("away")))
    for number in range(3):
        manifest.add(NOTHING | {"path": f"{number}.jpg", "state": "done", "finished": float(number)})
    with pytest.raises(InputError, match="cannot be written"):
        manifest.flush()
    monkeypatch.setattr(Store, "write", write)
    manifest.add(NOTHING | {"path": "3.jpg", "state": "done", "finished": 3.0})
    assert len(Manifest(Store(tmp_path)).read()) == 4


def test_the_latest_row_counts(tmp_path: Path):
    manifest = Manifest(Store(tmp_path))
    for finished, state in ((1.0, "failed"), (3.0, "done"), (2.0, "failed")):
        manifest.add(NOTHING | {"path": "a.jpg", "state": state, "finished": finished})
        manifest.flush()
    assert manifest.read()["a.jpg"]["state"] == "done"
    manifest.compact()
    table = manifest.table()
    assert table.num_rows == 1
    assert table.column("state").to_pylist() == ["done"]


def test_a_manifest_part_with_damaged_values_is_named(tmp_path: Path):
    """Parquet holds no checksums here: a path with a wrong byte is read without complaint, as no text."""
    import pyarrow.parquet

    manifest = Manifest(Store(tmp_path))
    manifest.add(NOTHING | {"path": "caf\u00e9.jpg", "state": "done", "finished": 1.0})
    manifest.flush()
    (part,) = (tmp_path / FOLDER).iterdir()
    table = pyarrow.parquet.read_table(part)
    pyarrow.parquet.write_table(table, part, compression="none", use_dictionary=False)
    part.write_bytes(part.read_bytes().replace("caf\u00e9".encode(), b"caf\xff\xff"))
    for read in (manifest.read, manifest.table):
        with pytest.raises(InputError, match="this part of the manifest cannot be read"):
            read()


def test_a_broken_manifest_part_is_named(tmp_path: Path):
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / FOLDER / "1.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(InputError, match=r"1\.parquet: this part of the manifest cannot be read"):
        Manifest(Store(tmp_path)).read()


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

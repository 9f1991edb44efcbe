"""Names that are no text, folders that cannot be read, runs beside one another: every photo has its row."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from batch_outputs import outputs, rows
from PIL import Image

from dereflect import images, leftovers
from dereflect.batch import BatchJob, run_batch
from dereflect.batch.manifest import NOTHING, Manifest
from dereflect.batch.store import STAGING, Store
from dereflect.escapes import escaped, unescaped

ON_UNIX = pytest.mark.skipif(sys.platform == "win32", reason="names are text on Windows")


def job(source: Path, model: Path, **changes) -> BatchJob:
    return BatchJob(str(source), str(source.parent / "out"), str(model), **changes)


@ON_UNIX
def test_names_that_are_no_text_have_rows_and_are_found_again(tiny_model, tmp_path):
    source = tmp_path / "in"
    names = ["caf\udce9.jpg", "two\nlines.png", "\x1b[31mred.png", "back\\xe9.png", "sub\udcff/a:b?#%20.png"]
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        with open(source / name, "wb") as file:
            Image.new("RGB", (64, 64)).save(file, "JPEG" if name.endswith("jpg") else "PNG")
    told: list[dict] = []
    summary = run_batch(job(source, tiny_model), progress=lambda row, _: told.append(row))
    assert (summary.done, summary.failed) == (5, 0), summary.errors
    assert sorted(rows(tmp_path / "out")) == sorted(map(escaped, names))
    assert sorted(unescaped(row["path"]) for row in told) == sorted(names)
    assert all(json.dumps(row).isascii() for row in told)
    there = {os.path.relpath(path, tmp_path / "out") for path in (tmp_path / "out").rglob("*.*")}
    assert {unescaped(row["transmission"]) for row in told} <= there
    again = run_batch(job(source, tiny_model))
    assert (again.kept, again.done) == (5, 0)


@ON_UNIX
def test_the_command_line_does_them_in_print(tiny_model, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad\udce9\n.png").write_text("no picture")
    words = ["batch", tmp_path / "in", tmp_path / "out", "--model", tiny_model, "--address", "none", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "dereflect", *words], capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert json.loads(done.stdout)["path"] == "bad\\xe9\\n.png"
    assert b"bad\\xe9\\n.png: is not a picture" in done.stderr.splitlines()[0]


def test_a_folder_that_cannot_be_read_costs_only_itself(photos, tiny_model, tmp_path, monkeypatch):
    source, real = photos(6), os.scandir

    def scandir(path):
        if os.fspath(path).endswith("/a"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    summary = run_batch(job(source, tiny_model))
    assert summary.done == 4
    assert summary.folders == [("a", "cannot be listed (Permission denied)")]
    monkeypatch.undo()
    again = run_batch(job(source, tiny_model))
    assert (again.done, again.kept, again.folders) == (2, 4, [])


def test_the_command_line_notes_such_a_folder(photos, tiny_model, tmp_path, monkeypatch, capsys):
    from dereflect.cli import main

    source, real = photos(3), Store._list

    def no_list(self, folder):
        if folder == "a":
            from dereflect.errors import InputError

            raise InputError(folder, "cannot be listed (Permission denied)")
        return real(self, folder)

    monkeypatch.setattr(Store, "_list", no_list)
    words = ["batch", source, tmp_path / "out", "--model", tiny_model, "--address", "none"]
    monkeypatch.setattr(sys, "argv", ["dereflect", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr().err
    assert end.value.code == 1
    assert "a: cannot be listed (Permission denied)" in said.splitlines()
    assert "1 folders could not be read" in said


@ON_UNIX
def test_links_to_nothing_and_photos_that_vanish_have_rows(photos, tiny_model, tmp_path, monkeypatch):
    source = photos(3)
    (source / "gone.png").symlink_to(source / "nowhere.png")
    (source / "loop.png").symlink_to(source / "loop.png")
    real = Store.read

    def read(self, path):
        if path.endswith("photo001.jpg"):
            os.remove(self.full(path))
        return real(self, path)

    monkeypatch.setattr(Store, "read", read)
    summary = run_batch(job(source, tiny_model))
    assert (summary.done, summary.failed) == (2, 3)
    errors = {path: row["error"] for path, row in rows(tmp_path / "out").items() if row["state"] == "failed"}
    assert errors["gone.png"] == "FileNotFoundError: No such file or directory"
    assert errors["loop.png"] == "OSError: Too many levels of symbolic links"
    assert errors["b/c/photo001.jpg"] == "FileNotFoundError: No such file or directory"


@pytest.mark.parametrize("fault", [RecursionError("too deep"), MemoryError(), OverflowError("large")])
def test_any_exception_is_one_photo_s_and_says_where(photos, tiny_model, tmp_path, monkeypatch, fault):
    source, real, calls = photos(3), images.encode, []

    def encode(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise fault
        return real(*arguments)

    monkeypatch.setattr(images, "encode", encode)
    told: list[dict] = []
    summary = run_batch(job(source, tiny_model), progress=lambda row, _: told.append(row))
    assert (summary.done, summary.failed) == (2, 1)
    row = next(row for row in told if row["state"] == "failed")
    assert row["error"].startswith(type(fault).__name__)
    assert "in encode" in row["trace"]
    assert "trace" not in next(iter(rows(tmp_path / "out").values()))


@ON_UNIX
def test_a_destination_inside_the_source_by_another_name(photos, tiny_model, tmp_path):
    source = photos(3)
    (source / "a" / "out").mkdir()
    (tmp_path / "link").symlink_to(source / "a" / "out")
    (tmp_path / "in").symlink_to(source)
    for folder in (tmp_path / "in", source):
        for target in (tmp_path / "link", source / "a" / ".." / "a" / "out"):
            summary = run_batch(BatchJob(str(folder), str(target), str(tiny_model)))
            assert summary.found == 3
    assert len(outputs(source / "a" / "out")) == 6


@ON_UNIX
def test_the_source_by_another_name_as_destination_is_refused(photos, tiny_model, tmp_path):
    (tmp_path / "link").symlink_to(photos(1))
    from dereflect.errors import InputError

    with pytest.raises(InputError, match="cannot go into the source itself"):
        run_batch(BatchJob(str(tmp_path / "photos"), str(tmp_path / "link"), str(tiny_model)))


def test_earlier_outputs_are_no_photos(photos, tiny_model, tmp_path):
    source = photos(3)
    for name in ("photo002_transmission.jpg", "photo002_reflection.png"):
        Image.new("RGB", (64, 64)).save(source / name)
    (source / "b" / "other" / "_dereflect").mkdir(parents=True)  # the destination of another batch
    Image.new("RGB", (64, 64)).save(source / "b" / "other" / "x_transmission.png")
    summary = run_batch(job(source, tiny_model))
    assert (summary.found, summary.own_outputs) == (3, 2)


def test_outputs_that_lie_in_the_source_because_it_lies_in_the_destination(tiny_model, tmp_path):
    source = tmp_path / "out" / "b"
    (source / "b").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(source / "b" / "y.png")  # its outputs go to out/b
    again = BatchJob(str(source), str(tmp_path / "out"), str(tiny_model))
    assert run_batch(again).done == 1
    summary = run_batch(again)
    assert (summary.found, summary.kept, summary.own_outputs) == (1, 1, 2)


def test_a_folder_whose_name_looks_like_an_address(photos, tiny_model, tmp_path):
    source = photos(2).rename(tmp_path / "zip::a [1]?#%20")
    summary = run_batch(BatchJob(str(source), str(tmp_path / "file::out"), str(tiny_model)))
    assert summary.done == 2
    assert len(outputs(tmp_path / "file::out")) == 4


def test_two_runs_at_once(photos, tiny_model, tmp_path):
    source = photos(8)
    words = [sys.executable, "-m", "dereflect", "batch", source, tmp_path / "out", "--model", tiny_model]
    words += ["--address", "none"]
    both = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [run.communicate(timeout=120)[1] for run in both]
    assert [run.returncode for run in both] == [0, 0], told
    again = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert again.stderr.startswith("8 photos: 0 separated")
    assert len(outputs(tmp_path / "out")) == 16
    assert not (tmp_path / "out" / STAGING).exists()


def test_what_others_are_writing_just_now_stays(tmp_path):
    place = Store(tmp_path)
    mine = tmp_path / STAGING / leftovers.temporary_name()
    mine.parent.mkdir(parents=True)
    mine.touch()
    (mine.parent / mine.name.replace(f"-{os.getpid():x}-", "-7fffffff-")).touch()
    place.clear_staging()
    assert os.listdir(mine.parent) == [mine.name]


def test_parts_that_another_run_puts_together_while_they_are_read(tmp_path, monkeypatch):
    manifest, real = Manifest(Store(tmp_path)), Store.read
    for number in range(2):
        manifest.add(NOTHING | {"path": f"{number}.jpg", "state": "done", "finished": float(number)})
        manifest.flush()

    def read(self, path):
        monkeypatch.undo()
        Manifest(Store(tmp_path)).compact()
        return real(self, path)

    monkeypatch.setattr(Store, "read", read)
    assert sorted(manifest.read()) == ["0.jpg", "1.jpg"]


def no_memory(*arguments, **keywords):
    raise MemoryError("Unable to allocate 8.00 GiB for an array")


@pytest.mark.parametrize(
    "place", ["dereflect.images.reading._decode", "dereflect.methods.default.method.DefaultMethod.forward"]
)
def test_too_little_memory_is_the_machine_s_fault_and_tried_again(photos, tiny_model, monkeypatch, place):
    source = photos(1)
    monkeypatch.setattr(place, no_memory)
    summary = run_batch(job(source, tiny_model))
    assert (summary.failed, summary.refused) == (1, 0)
    assert "needs more memory" in summary.errors[0][1]
    monkeypatch.undo()
    assert run_batch(job(source, tiny_model)).done == 1

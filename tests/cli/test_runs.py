"""One photo's failure is that photo's alone, whatever it is; and runs leave one another in peace."""

import json
import os
import struct
import subprocess
import sys

import pytest
from command_line import names, photo
from PIL import Image

import dereflect.cli.run as runs
from dereflect import images
from dereflect.separator import Separator

FAULTS = [
    RecursionError("too deep"),
    MemoryError(),
    struct.error("bad bytes"),
    OverflowError("too large"),
    KeyError("tag"),
    AssertionError(),
]


def fail_at_second(monkeypatch, owner: object, name: str, fault: BaseException) -> None:
    """Let the second call of a function raise."""
    calls, real = [], getattr(owner, name)

    def sometimes(*arguments, **keywords):
        calls.append(1)
        if len(calls) == 2:
            raise fault
        return real(*arguments, **keywords)

    monkeypatch.setattr(owner, name, sometimes)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_any_exception_while_a_photo_is_run_is_that_photo_s_failure(separate, tmp_path, monkeypatch, fault):
    paths = [photo(tmp_path / f"{name}.png") for name in "abc"]
    fail_at_second(monkeypatch, Separator, "__call__", fault)
    done = separate(*paths, "-o", tmp_path / "out")
    assert done.code == 1
    line = next(line for line in done.lines if line.startswith(f"{paths[1]}: "))
    assert type(fault).__name__ in line
    assert line.count(type(fault).__name__) == 1
    assert str(fault) in line
    assert "Traceback" not in done.err
    assert len(names(tmp_path / "out")) == 4
    assert "2 photos separated" in done.lines[-1]


@pytest.mark.parametrize(
    ("owner", "name"), [(images, "probe"), (images.writing, "encode"), (images, "write_bytes")]
)
def test_any_step_of_a_photo_may_fail(separate, tmp_path, monkeypatch, owner, name):
    paths = [photo(tmp_path / f"{name}.png") for name in "abc"]
    fail_at_second(monkeypatch, owner, name, OverflowError("too large"))
    done = separate(*paths, "-o", tmp_path / "out")
    assert done.code == 1
    assert sum("OverflowError: too large" in line for line in done.lines) == 1
    assert {"c_reflection.png", "c_transmission.png"} <= set(names(tmp_path / "out"))


def test_verbose_shows_where_and_json_says_what(separate, tmp_path, monkeypatch):
    paths = [photo(tmp_path / f"{name}.png") for name in "ab"]
    fail_at_second(monkeypatch, Separator, "__call__", RecursionError("too deep"))
    done = separate(*paths, "-o", tmp_path / "out", "-v", "--json")
    assert "Traceback" in done.err
    assert "in sometimes" in done.err
    assert json.loads(done.out.splitlines()[1])["error"] == "RecursionError: too deep"


def test_a_foreseen_fault_needs_no_traceback(separate, tmp_path):
    (tmp_path / "a.png").write_text("no picture")
    assert "Traceback" not in separate(tmp_path / "a.png", "-v").err


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), SystemExit(7)])
def test_who_wants_to_stop_is_not_held_up(separate, tmp_path, monkeypatch, fault):
    paths = [photo(tmp_path / f"{name}.png") for name in "abc"]
    fail_at_second(monkeypatch, Separator, "__call__", fault)
    done = separate(*paths, "-o", tmp_path / "out")
    assert done.code == (130 if isinstance(fault, KeyboardInterrupt) else 7)
    assert len(names(tmp_path / "out")) == 2


def test_a_pipe_reports_what_no_one_foresaw_in_one_line(separate, tmp_path, monkeypatch):
    import io

    def fail(*arguments, **keywords):
        raise OverflowError("too large")

    monkeypatch.setattr(Separator, "__call__", fail)
    content = io.BytesIO(photo(tmp_path / "a.png").read_bytes())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(content))
    done = separate("-")
    assert done.code == 2
    assert done.lines == ["dereflect: -: OverflowError: too large"]
    content.seek(0)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(content))
    told = separate("-", "-v").lines
    assert told[-1] == "dereflect: -: OverflowError: too large"
    assert any("in fail" in line for line in told[:-1])


def test_what_another_run_has_written_meanwhile_is_skipped(separate, tmp_path, monkeypatch):
    """As two runs at once: outputs appear between the look at the folder and the writing."""
    path, real = photo(tmp_path / "a.png"), runs.Run.separate

    def late(self, image):
        result = real(self, image)
        (tmp_path / "a_transmission.png").write_bytes(b"theirs")
        return result

    monkeypatch.setattr(runs.Run, "separate", late)
    assert separate(path, "--skip-existing").code == 0
    assert (tmp_path / "a_transmission.png").read_bytes() == b"theirs"
    assert "a_reflection.png" in names(tmp_path)
    (tmp_path / "a_reflection.png").unlink()
    (tmp_path / "a_transmission.png").unlink()
    refused = separate(path)
    assert refused.code == 2
    assert "exists already" in refused.err


def test_two_runs_on_one_folder_at_once(model_folder, tmp_path):
    for index in range(6):
        photo(tmp_path / "in" / f"{index}.png", index)
    words = [sys.executable, "-m", "dereflect", "separate", tmp_path / "in", "--skip-existing"]
    words += ["--model", model_folder, "--device", "cpu", "-o", tmp_path / "in" / "out", "-r"]
    both = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [run.communicate(timeout=120)[1] for run in both]
    assert [run.returncode for run in both] == [0, 0], told
    assert len(os.listdir(tmp_path / "in" / "out")) == 12
    for name in names(tmp_path / "in" / "out"):
        Image.open(tmp_path / "in" / "out" / name).load()


def test_what_a_killed_run_has_left_is_removed_though_nothing_is_to_be_done(separate, tmp_path):
    from dereflect import leftovers

    path = photo(tmp_path / "a.png")
    assert separate(path).code == 0
    left = tmp_path / leftovers.temporary_name().replace(f"-{os.getpid():x}-", "-7fffffff-")
    left.write_bytes(b"half")
    leftovers._swept.cache_clear()  # as in a new process
    assert separate(path, "--skip-existing").code == 0
    assert names(tmp_path) == ["a.png", "a_reflection.png", "a_transmission.png"]

"""Temporary files of killed runs go; those of the living stay."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dereflect import leftovers
from dereflect.files import writing

ON_UNIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot ask after a process")
OLD = time.time() - 2 * leftovers.DAY


def name_of_another(code: str) -> str:
    """What `code` prints in another process, which then waits to be told to end."""
    return f"import sys; from dereflect import leftovers; print({code}, flush=True); sys.stdin.read()"


@pytest.fixture
def other():
    """Start a process; gives it and a temporary name of its own."""
    started = []

    def start(code: str = "leftovers.temporary_name()"):
        words = [sys.executable, "-c", name_of_another(code)]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


@ON_UNIX
def test_a_name_is_left_once_its_process_is_dead(other, tmp_path):
    process, name = other()
    (tmp_path / name).touch()
    leftovers.sweep(tmp_path)
    assert os.listdir(tmp_path) == [name]
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, but a zombie until it is waited for
    leftovers.sweep(tmp_path)
    assert os.listdir(tmp_path) == []


@ON_UNIX
def test_the_number_of_a_dead_process_may_be_another_s():
    name = leftovers.temporary_name()
    began = f"-{leftovers._began(os.getpid()):x}-"
    assert not leftovers.is_left(name, OLD)
    assert leftovers.is_left(name.replace(began, "-1-"), time.time())


def test_of_other_machines_only_what_is_old_is_left():
    name = leftovers.temporary_name().replace(leftovers._machine(), "0" * 12)
    assert not leftovers.is_left(name, time.time())
    assert leftovers.is_left(name, OLD)


def test_names_of_others_are_never_left(tmp_path):
    for name in (".dereflect-notes", "a.part", ".dereflect-0123.part", "x.dereflect-0123456789ab.part"):
        assert not leftovers.is_left(name, 0.0), name
    assert leftovers.is_left(".dereflect-0123456789ab.part", OLD)  # as earlier versions called them


def dead(name: str) -> str:
    return name.replace(f"-{os.getpid():x}-", "-7fffffff-")


@ON_UNIX
def test_folders_go_and_what_was_displaced_comes_back(tmp_path):
    (tmp_path / dead(leftovers.temporary_name())).mkdir()
    (tmp_path / dead(leftovers.displaced_name("model"))).mkdir()
    leftovers.sweep(tmp_path)
    assert os.listdir(tmp_path) == ["model"]
    (tmp_path / dead(leftovers.displaced_name("model"))).mkdir()
    leftovers.sweep(tmp_path)
    assert os.listdir(tmp_path) == ["model"]


@ON_UNIX
def test_links_are_removed_and_not_followed(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / dead(leftovers.temporary_name())).symlink_to(tmp_path / "kept")
    leftovers.sweep(tmp_path)
    assert os.listdir(tmp_path) == ["kept"]
    assert os.listdir(tmp_path / "kept") == ["file"]


@ON_UNIX
def test_writing_sweeps_its_folder(tmp_path):
    (tmp_path / dead(leftovers.temporary_name())).touch()
    with writing(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_that_is_not_there_is_no_fault(tmp_path: Path):
    leftovers.sweep(tmp_path / "missing")

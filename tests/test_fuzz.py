"""Damaged files are done or refused in one line; the script that tries thousands tries some hundreds here."""

import subprocess
import sys
from pathlib import Path
from runpy import run_path

import pytest

from dereflect.errors import InputError

pytest.importorskip("pyarrow")
pytest.importorskip("fsspec")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")
SCRIPT = Path(__file__).parents[1] / "scripts" / "fuzz.py"


@pytest.fixture(scope="module")
def fuzz() -> dict:
    return run_path(str(SCRIPT))


def test_three_hundred_damaged_files_do_no_harm():
    words = [sys.executable, SCRIPT, "--pictures", "270", "--others", "30", "--seed", "20"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "270 pictures: " in done.stdout
    assert "30 weights, recipes and manifests: " in done.stdout
    assert " done, " in done.stdout.splitlines()[0]  # not all are damaged beyond use
    assert done.stdout.endswith("\n0 wrong\n")


def test_a_case_depends_on_its_seed_and_number_alone(fuzz):
    contents = {"a.png": fuzz["pictures"]()["plain.png"], "b.txt": b"words" * 200}
    few = list(fuzz["make_cases"]("p", contents, 6, 4))
    assert list(fuzz["make_cases"]("p", contents, 40, 4))[:6] == few
    assert len({case.content for case in few}) == 6
    assert list(fuzz["make_cases"]("p", contents, 6, 5)) != few


def do_nothing(case, folder):
    pass


def refuse(case, folder):
    raise InputError(case.name, "is damaged")


def refuse_at_length(case, folder):
    error = InputError(case.name, "is damaged")
    error.line = lambda spell=str: "one\ntwo"
    raise error


def raise_anything(case, folder):
    raise ZeroDivisionError("by zero")


def leave_a_part(case, folder):
    from dereflect.leftovers import temporary_name

    (folder / temporary_name()).write_bytes(b"half")


def write_and_refuse(case, folder):
    (folder / "out").mkdir()
    (folder / "out" / "a.png").write_bytes(b"half")
    refuse(case, folder)


def take_memory(case, folder):
    bytearray(1_000_000_000)


def die(case, folder):
    import os

    os._exit(3)


def spin(case, folder):
    while True:
        pass


@pytest.mark.parametrize(
    ("attempt", "became", "wrong"),
    [
        (do_nothing, "done", ""),
        (refuse, "refused", ""),
        (refuse_at_length, "refused", "more than a line"),
        (raise_anything, "refused", "unforeseen: a.png: ZeroDivisionError: by zero"),
        (leave_a_part, "done", "left behind"),
        (write_and_refuse, "refused", "left behind"),
        pytest.param(
            take_memory,
            "done",
            "took 1",
            marks=pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux tells it"),
        ),
        (die, "died", "its process died (3)"),
        pytest.param(
            spin,
            "hung",
            "more than 1 s",
            marks=pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux tells it"),
        ),
    ],
)
def test_what_is_wrong_is_found(fuzz, tmp_path, monkeypatch, attempt, became, wrong):
    if became == "hung":  # the others have their ten seconds: taking memory is slow on some machines
        monkeypatch.setitem(fuzz["_watch"].__globals__, "SECONDS", 1.0)
    case = fuzz["Case"]("p0", "a.png", "bits", b"")
    after = fuzz["Case"]("p1", "b.png", "bits", b"")
    found = list(
        fuzz["run"](
            lambda case, folder: attempt(case, folder) if case.number == "p0" else None,
            [case, after],
            tmp_path / "case",
        )
    )
    assert [entry[0].number for entry in found] == ["p0", "p1"]  # the next is tried all the same
    assert found[0][1] == became
    assert found[0][2].startswith(wrong)
    assert bool(found[0][2]) == bool(wrong)
    assert found[1][1:] == ("done", "")

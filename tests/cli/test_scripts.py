"""Programs of benchmarks/ and scripts/ say in one line what is wrong with what they were given."""

import subprocess
import sys
from pathlib import Path

import pytest

from dereflect.cli.scripts import run_script
from dereflect.errors import InputError, fault_of

ROOT = Path(__file__).parents[2]
PROGRAMS = [
    path
    for folder in ("benchmarks", "scripts")
    for path in sorted((ROOT / folder).glob("*.py"))
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
]
TAKE_NOTHING = {"check_version.py", "make_sample.py", "measured.py"}
"""No file or folder of the user's, so that nothing can be wrong with it."""


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_every_program_says_faults_in_one_line(program):
    last = program.read_text(encoding="utf-8").rstrip().splitlines()[-1].strip()
    assert last == ("main()" if program.name in TAKE_NOTHING else "run_script(main)")


def missing() -> None:
    Path("no such file").read_bytes()


def refuse() -> None:
    raise InputError("a.png", "is too large")


@pytest.mark.parametrize(
    ("main", "line"),
    [(refuse, "a.png: is too large"), (missing, "no such file: No such file or directory")],
)
def test_a_fault_of_what_was_given_is_a_line(main, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        run_script(main)
    assert end.value.code == 2
    assert capsys.readouterr().err.splitlines() == [line]


@pytest.mark.parametrize("fault", [KeyError("k"), OSError("no file of anybody's"), fault_of(KeyError("k"))])
def test_a_fault_of_the_program_keeps_its_traceback(fault):
    def main() -> None:
        raise fault

    with pytest.raises(type(fault)):
        run_script(main)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["benchmarks/identity.py", "nowhere"], "nowhere: holds no pictures"),
        (["scripts/pack_training_data.py", "nowhere", "out"], "nowhere/photos: holds no pictures"),
    ],
)
def test_a_folder_that_is_not_there(words, line, tmp_path):
    command = [sys.executable, ROOT / words[0], *words[1:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [line]
    assert list(tmp_path.iterdir()) == []

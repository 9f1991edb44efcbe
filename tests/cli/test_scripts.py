"""Programs of benchmarks/ and scripts/ say in one line what is wrong with what they were given."""

import re
import subprocess
import sys
from pathlib import Path

import held_out_synthesis
import pytest

from dereflect.cli.scripts import run_script
from dereflect.data.crops import held_out
from dereflect.errors import DereflectError, InputError, fault_of

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


@pytest.mark.parametrize("program", ["benchmarks/identity.py", "scripts/pack_training_data.py"])
def test_a_folder_that_is_not_there(program, tmp_path):
    words = [sys.executable, ROOT / program, "nowhere", "out"][: 3 if "identity" in program else 4]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(r"nowhere(/photos)?: holds no pictures\n", done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_seen_photos_are_others_than_the_held_out_ones_and_as_many():
    paths = [Path(f"{number}.jpg") for number in range(200)]
    held, seen = (held_out_synthesis.choose(paths, seen) for seen in (False, True))
    assert held == [path for path in paths if held_out(path, 20)]
    assert len(held) == len(set(seen)) == len(seen) > 2
    assert not set(seen) & set(held)
    assert set(seen) < set(paths)


@pytest.mark.parametrize("seen", [False, True])
def test_too_few_photos_for_a_picture_are_refused(seen):
    one = next(path for number in range(200) if held_out(path := Path(f"in/{number}.jpg"), 20))
    with pytest.raises(DereflectError, match="in: holds"):
        held_out_synthesis.choose([one], seen)

"""The command line as a person meets it: versions, help, and errors of one line."""

import json
import subprocess
import sys

import pytest

from dereflect.cli.options import parse_settings
from dereflect.errors import InputError


def dereflect(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dereflect", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_version_names_dereflect_torch_and_the_device():
    import torch

    from dereflect import __version__

    done = dereflect("--version")
    assert done.returncode == 0
    assert done.stdout.startswith(f"dereflect {__version__}, torch {torch.__version__}, ")
    assert "device " in done.stdout


def test_help_does_not_import_torch():
    code = (
        "import sys; sys.argv = ['dereflect', '--help']\n"
        "from dereflect.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_models_lists_every_card():
    from dereflect.catalog import CARDS

    done = dereflect("models", "--json")
    assert done.returncode == 0
    names = [json.loads(line)["name"] for line in done.stdout.splitlines()]
    assert sorted(names) == sorted(CARDS)
    assert names[-1] == "default"  # the only one without published numbers
    assert "licence" in dereflect("models").stdout


def test_unknown_model_names_the_nearest_in_one_line_and_exits_2(tmp_path):
    done = dereflect("models", "convert", "defalt", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "did you mean default" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_without_a_verb_the_help_is_shown_and_the_exit_code_is_2():
    done = dereflect()
    assert (done.returncode, done.stdout) == (2, "")
    assert "separate" in done.stderr
    assert "Traceback" not in done.stderr


def test_unknown_verb_exits_2():
    done = dereflect("seperate")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("pair", ["novalue", "=x", " =x"])
def test_a_setting_that_is_no_pair_is_refused(pair):
    with pytest.raises(InputError, match="key=value"):
        parse_settings([pair])


def test_settings_are_strings_and_may_hold_equals_signs():
    assert parse_settings(["k=0.2", "path=a=b"]) == {"k": "0.2", "path": "a=b"}
    with pytest.raises(InputError, match="twice"):
        parse_settings(["k=1", "k=2"])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            "separate --nope",
            "--nope: no such option (perhaps --dtype, --model); see  dereflect separate --help",
        ),
        ("separate", "INPUT: is missing; see  dereflect separate --help"),
        ("synthesize", "--output: is missing; see  dereflect synthesize --help"),
        ("data check", "FOLDER: is missing; see  dereflect data check --help"),
        ("batch a b c", "c: not expected here; see  dereflect batch --help"),
        ("separate x --strength 3", "--strength: should be less than or equal to 1; see  dereflect sep"),
        ("separate x --device gpu", "--device: 'gpu' is not one of 'auto', 'cpu', 'cuda', 'mps'; see  der"),
        ("separate x --strength", "--strength: requires an argument; see  dereflect"),
        ("models nosuch", "nosuch: no such command; see  dereflect models --help"),
    ],
)
def test_faults_in_the_words_are_one_line_that_names_the_word(words, line, monkeypatch, capsys):
    from dereflect.cli import main

    monkeypatch.setattr(sys, "argv", ["dereflect", *words.split()])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr()
    assert (end.value.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert said.err.startswith(f"dereflect: {line}")

"""What `--help` shows to somebody who sees it for the first time."""

import pytest
import typer.main
from command_line import invoke

from dereflect.cli import app
from dereflect.cli.help import filled

VERBS = sorted(typer.main.get_command(app).commands)


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("TERMINAL_WIDTH", "400")


def test_the_first_help_says_how_to_begin():
    assert "Begin with:  dereflect separate photo.jpg" in invoke("--help").stdout


@pytest.mark.parametrize("verb", VERBS)
def test_paragraphs_are_broken_by_the_terminal_alone(verb):
    shown = invoke(verb, "--help").stdout
    text = typer.main.get_command(app).commands[verb].help
    for paragraph in text.split("\n\n"):
        assert any(paragraph in line for line in shown.splitlines())


@pytest.mark.parametrize("verb", VERBS)
def test_an_option_that_takes_no_value_shows_none(verb):
    assert "<bool>" not in invoke(verb, "--help").stdout


def test_several_inputs_are_written_once_in_the_usage():
    assert "...}" not in invoke("separate", "--help").stdout


def test_only_empty_lines_part_paragraphs():
    assert filled("Separate\n    photos.\n\n    Exit code:\n    0.") == "Separate photos.\n\nExit code: 0."

"""Options are declared once, mean the same in every verb, and arrive as objects."""

import ast
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from dereflect.cli import app
from dereflect.cli.groups import Omit, grouped
from dereflect.cli.options import ModelOptions

CLI = Path(__file__).parents[2] / "src" / "dereflect" / "cli"
SHARED = {
    "--set", "--quality", "--device", "--dtype", "--max-size", "--tile", "--strength", "--layers", "--format",
    "--strip-metadata", "--max-pixels", "--quiet", "--overwrite", "--shard",
    "--raw", "--raw-space",
}  # fmt: skip
VERBS = typer.main.get_command(app).commands


def option(verb: str, flag: str):
    return next((found for found in VERBS[verb].params if flag in found.opts), None)


def test_shared_options_are_declared_once():
    declared = Counter(
        node.args[0].value
        for path in CLI.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "typer.Option" and node.args
    )
    assert {flag: declared[flag] for flag in SHARED} == dict.fromkeys(SHARED, 1)


@pytest.mark.parametrize("flag", sorted(SHARED))
def test_a_shared_option_is_explained_in_the_same_words_everywhere(flag):
    found = [option(verb, flag) for verb in ("separate", "batch", "video", "evaluate", "serve")]
    offered = [one for one in found if one is not None]
    assert offered
    assert len({one.help for one in offered}) == 1
    assert all(one.help for one in offered)


def test_verbs_that_run_a_model_take_all_that_says_how():
    for verb in ("separate", "batch", "video", "evaluate", "serve"):
        for flag in ("--model", "--set", "--device", "--dtype", "--max-size", "--tile", "--seed", "--quiet"):
            assert option(verb, flag), f"{verb} {flag}"


@pytest.mark.parametrize("verb", ["separate", "batch", "video"])
def test_strength_reaches_from_minus_one_to_one(dereflect, tmp_path, verb):
    words = [verb, tmp_path / "nowhere.mp4", *([] if verb == "separate" else [tmp_path / "out.mp4"])]
    for inside in ("-1", "1"):
        assert "no such f" in dereflect(*words, "--strength", inside).err
    for outside in ("-1.01", "1.01"):
        assert dereflect(*words, "--strength", outside).lines[0].startswith("dereflect: --strength: ")


def test_the_limit_of_pixels_is_that_of_the_python_interface():
    from dereflect.images import DEFAULT_MAX_PIXELS

    assert option("separate", "--max-pixels").default == DEFAULT_MAX_PIXELS
    assert option("batch", "--max-pixels").default == DEFAULT_MAX_PIXELS


def test_options_become_arguments_of_a_separator():
    options = ModelOptions(tile="64", max_size=100, settings=["k=0.2"])
    assert options.of_separator() == {
        "device": "auto",
        "dtype": "auto",
        "quality": "fast",
        "max_size": 100,
        "tile": 64,
        "seed": 0,
    }
    assert options.of_method() == {"k": "0.2"}


@dataclass(frozen=True)
class Colours:
    ink: Annotated[str, typer.Option("--ink", help="Of the lines.")] = "black"
    paper: Annotated[str, typer.Option("--paper")] = "white"


def test_a_group_arrives_as_an_object_and_keeps_the_defaults_of_what_is_omitted():
    seen = []
    letter = typer.Typer()

    @letter.command()
    @grouped
    def write(
        text: Annotated[str, typer.Argument()],
        colours: Annotated[Colours, Omit(["paper"])],
        loud: Annotated[bool, typer.Option("--loud")] = False,
    ) -> None:
        """Write a letter."""
        seen.append((text, colours, loud))

    assert CliRunner().invoke(letter, ["hello", "--ink", "red", "--loud"]).exit_code == 0
    assert seen == [("hello", Colours("red", "white"), True)]
    assert CliRunner().invoke(letter, ["hello", "--paper", "blue"]).exit_code == 2
    shown = CliRunner().invoke(letter, ["--help"]).output
    assert "Write a letter." in shown
    assert "Of the lines." in shown

"""What an error carries, and how each front end words it."""

import pickle

import pytest

from dereflect.errors import (
    DereflectError,
    InputError,
    MissingExtra,
    ModelError,
    Option,
    RecipeError,
    Remedy,
    first_line,
)


def flag(option: Option) -> str | None:
    return f"--{option.name}" if option.value in (None, True) else f"--{option.name} {option.value}"


def nothing(option: Option) -> None:
    return None


def test_a_file_at_fault():
    error = InputError("a.png", "is empty")
    assert str(error) == "a.png: is empty"
    assert (error.subject, error.reason, error.option) == ("a.png", "is empty", None)


def test_an_option_at_fault_is_spelt_by_the_front_end():
    error = InputError(0, "give a number of pixels", option="size")
    assert str(error) == "size 0: give a number of pixels"
    assert error.line(flag) == "--size 0: give a number of pixels"
    assert error.line(nothing) == "size 0: give a number of pixels"  # at fault, so it has to be named
    assert (error.subject, error.option) == ("0", "size")


def test_a_setting_of_the_method_at_fault():
    error = ModelError(2, "must be 0 to 1", setting="k")
    assert str(error) == "setting k=2: must be 0 to 1"
    assert str(ModelError(None, "unknown", setting="k")) == "setting k: unknown"
    assert (error.setting, error.option) == ("k", None)


def test_a_remedy_is_spelt_by_the_front_end_or_left_out():
    error = InputError("a.png", "exists already", remedy=Remedy("{} replaces it", Option("overwrite", True)))
    assert str(error) == "a.png: exists already; overwrite=True replaces it"
    assert error.line(flag) == "a.png: exists already; --overwrite replaces it"
    assert error.line(nothing) == "a.png: exists already"
    assert error.reason == "exists already"


def test_a_remedy_of_two_options_needs_both():
    remedy = Remedy("ask for less with {} or {}", "cpus", "gpus")
    assert remedy.words(flag) == "ask for less with --cpus or --gpus"
    assert remedy.words(lambda option: "x" if option.name == "cpus" else None) == ""


def test_a_file_name_with_braces_and_line_breaks_stays_one_line():
    error = InputError("a{}\nb.png", "is empty", remedy=Remedy("give {}", "size"))
    assert str(error) == "a{} b.png: is empty; give size"


def test_the_same_fault_of_something_else():
    error = InputError("picture", "is too large", remedy=Remedy("raise {}", "limit")).about("a.png")
    assert isinstance(error, InputError)
    assert str(error) == "a.png: is too large; raise limit"
    of_option = InputError(0, "give pixels", option="size")
    assert of_option.about("a.png") is of_option


@pytest.mark.parametrize(
    "error",
    [
        InputError(0, "give pixels", option="size", remedy=Remedy("give {}", Option("overwrite", True))),
        ModelError(2, "must be 1", setting="k"),
        RecipeError("settings.crop", "too small"),
        MissingExtra("diffusers", "diffusion", "DiffRS"),
    ],
)
def test_errors_pass_between_processes(error: DereflectError):
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert (back.line(flag), back.option, back.setting) == (error.line(flag), error.option, error.setting)


def test_a_missing_extra_names_the_command():
    error = MissingExtra("fastapi", "web", "the web page")
    assert str(error) == "the web page needs fastapi: run pip install 'dereflect[web]'"
    assert str(error.about("a.png")) == f"a.png: {error}"


def test_the_first_line_of_what_an_exception_says():
    assert first_line(ValueError("\n one\ntwo")) == "one"
    assert first_line(ValueError()) == "ValueError"
    assert first_line(FileNotFoundError(2, "No such file", "x.png")) == "No such file"

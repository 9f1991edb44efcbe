"""One fault, three front ends: Python names its argument, the command line a flag, the service a field."""

import ast
import io
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import typer
from PIL import Image

from dereflect.cli import app
from dereflect.cli.messages import fault_line, flag, reason_of
from dereflect.cli.report import Report
from dereflect.errors import OVERWRITE, DereflectError, InputError, Option, Remedy
from dereflect.web import messages as web

SOURCE = Path(__file__).parents[2] / "src" / "dereflect"
FLAG = re.compile(r"(?<![\w-])--[a-z]")
A_COMMAND = re.compile(r"dereflect [a-z]+ .*--[a-z]")
"""What may name a flag anywhere: a whole command to type."""


def literals(path: Path) -> Iterator[tuple[int, str]]:
    """The strings of a module that can be shown: no docstrings, and f-strings as one."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(str(getattr(part, "value", "")) for part in node.values)
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in documentation | parts
        ):
            yield node.lineno, node.value


def test_no_flag_is_named_outside_the_command_line():
    own_verbs = SOURCE / "methods" / "dmdnet" / "command.py"
    leaks = [
        f"{path.relative_to(SOURCE)}:{line}: {text}"
        for path in sorted(SOURCE.rglob("*.py"))
        if path.relative_to(SOURCE).parts[0] != "cli" and path != own_verbs
        for line, text in literals(path)
        if FLAG.search(text) and not A_COMMAND.search(text)
    ]
    assert leaks == []


def options_named() -> set[str]:
    """Every option that an error anywhere names."""
    names = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            names |= {
                key.value.value
                for key in node.keywords
                if key.arg == "option" and isinstance(key.value, ast.Constant)
            }
            kind = getattr(node.func, "id", "")
            words = node.args[1:] if kind == "Remedy" else node.args[:1] if kind == "Option" else []
            if not any(key.arg == "setting" for key in node.keywords):
                names |= {word.value for word in words if isinstance(word, ast.Constant)}
    return names


def test_every_option_that_an_error_names_has_its_flag():
    group = typer.main.get_command(app)
    verbs = [
        verb for top in group.commands.values() for verb in [top, *getattr(top, "commands", {}).values()]
    ]
    flags = {word for verb in verbs for parameter in verb.params for word in parameter.opts}
    in_python_only = {"batch_size", "return_tensors", "set"}
    unknown = {flag(Option(name)) for name in options_named() - in_python_only} - flags
    assert unknown == set()


def photo(folder: Path) -> Path:
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(folder / "a.png")
    return folder / "a.png"


def test_an_option_out_of_range(dereflect, model_folder, tmp_path):
    from dereflect import load

    with pytest.raises(InputError) as fault:
        load(model_folder, tile=7)
    assert str(fault.value) == "tile 7: give auto, off, or a number of at least 32 pixels"
    assert (fault.value.option, fault.value.subject) == ("tile", "7")
    done = dereflect("separate", photo(tmp_path), "--model", model_folder, "--tile", "7")
    assert done.code == 2
    assert done.lines == ["dereflect: --tile 7: give auto, off, or a number of at least 32 pixels"]
    error = InputError(7, "give a number from -1 to 1", option="strength")
    assert web.fault_line(error) == "strength 7: give a number from -1 to 1"


def test_a_remedy_by_option(dereflect, model_folder, tmp_path):
    from dereflect.images import from_array, write
    from dereflect.images.reading import read

    path = photo(tmp_path)
    with pytest.raises(InputError) as fault:
        read(path, max_pixels=1000)
    wrong = "50 x 40 is 0 megapixels, over the limit of 0"
    assert str(fault.value) == f"{path}: {wrong}; raise it with max_pixels"
    assert web.fault_line(fault.value) == f"{path}: {wrong}; send a smaller photo"
    done = dereflect("separate", path, "--model", model_folder, "--max-pixels", "1000", "-q")
    assert done.lines == [f"{path}: {wrong}; raise it with --max-pixels"]

    with pytest.raises(InputError) as fault:
        write(from_array(np.zeros((4, 4, 3), np.uint8)), path, "PNG")
    assert str(fault.value) == f"{path}: exists already; overwrite=True replaces it"
    assert fault_line(fault.value) == f"{path}: exists already; --overwrite replaces it"
    assert web.fault_line(fault.value) == f"{path}: exists already"


def test_a_setting_of_the_method(dereflect, model_folder, tmp_path):
    from dereflect import load

    with pytest.raises(DereflectError) as fault:
        load(model_folder, options={"colour": "red"})
    assert str(fault.value).startswith("setting colour=red: ")
    assert fault.value.setting == "colour"
    words = ("separate", photo(tmp_path), "--model", model_folder, "--set", "colour=red")
    assert dereflect(*words).lines[0].startswith("dereflect: --set colour=red: ")


@pytest.mark.parametrize(
    ("option", "written"),
    [
        (Option("max_size"), "--max-size"),
        (Option("max_size", 0), "--max-size 0"),
        (Option("overwrite", True), "--overwrite"),
        (Option("k", "2", setting=True), "--set k=2"),
        (Option("k", setting=True), "--set k"),
        (Option("cpus"), "--num-cpus"),
    ],
)
def test_options_as_flags(option, written):
    assert flag(option) == written


def test_a_line_that_begins_with_the_file_does_not_name_it_twice():
    error = InputError("a.png", "exists already", remedy=OVERWRITE)
    assert reason_of(error, "a.png") == "exists already; --overwrite replaces it"
    assert reason_of(error, "b.png") == "a.png: exists already; --overwrite replaces it"


def test_the_service_names_its_fields_and_no_option_that_it_lacks():
    choose = Remedy("choose {} png", "format")
    assert (
        web.fault_line(InputError("picture", "is too large", remedy=choose))
        == "is too large; choose format png"
    )
    assert web.fault_line(InputError(None, "is damaged", option="mask")) == "mask: is damaged"
    both = Remedy("give {} or {}", "format", "cpus")
    assert web.fault_line(InputError("a", "is odd", remedy=both)) == "a: is odd"


def test_form_fields_are_those_of_the_service():
    pytest.importorskip("fastapi")
    from dereflect.web.routes import router

    taken = set()
    for route in router.routes:
        body = getattr(route, "body_field", None)
        if body is not None:
            taken |= set(body.field_info.annotation.model_fields)
    assert taken == web.FIELDS


def test_a_name_is_no_emoji_where_a_bar_is_drawn():
    console = pytest.importorskip("rich.console")
    report, told = Report(2), io.StringIO()
    report._bar = SimpleNamespace(console=console.Console(file=told))
    report.warn("b:cat:.jpg: is empty")
    assert told.getvalue() == "b:cat:.jpg: is empty\n"

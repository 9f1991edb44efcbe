"""The rules of the house, read from the source: rooms, circles, lengths.

Every import counts, also those inside functions and under ``TYPE_CHECKING``.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from dereflect.catalog import families

SOURCE = Path(__file__).parents[1] / "src"

ROOMS = (
    ("_version", "control_groups", "cores", "errors", "escapes", "leftovers", "limits"),
    ("files", "outputs", "strict"),
    ("recipes", "downloads"),
    ("devices", "images", "weights"),
    ("nn",),
    ("data",),
    ("methods",),  # what all methods share
    ("methods.*",),  # the methods themselves
    ("catalog",),
    ("tiling", "canvas", "analysis", "runner", "separation", "inference", "separator"),
    ("training", "evaluation", "export"),
    ("batch", "editors", "video", "web"),
    ("cli",),
    ("", "__main__"),
)
"""From the ground up: a module imports from its own room and from those below it."""

A_METHOD = "dereflect.methods.default"
LONGEST_FILE = 350
LONGEST_FUNCTION = 60

ALLOWED: set[str] = set()
"""Functions that may be longer, with the reason. An entry that is no longer needed fails the test."""


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package, parsed, by its dotted name."""
    found = {}
    for path in sorted((SOURCE / "dereflect").rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


@cache
def imports() -> dict[str, set[str]]:
    """What each module imports of the package."""
    return {name: set(imported(tree, set(modules()))) & set(modules()) for name, tree in modules().items()}


def imported(tree: ast.AST, known: set[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write imports in full"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in known else str(node.module)


def room(module: str) -> int:
    """Number of a module's room, from the ground up."""
    _, *parts = module.split(".")
    kind = parts[0] if parts else ""
    if kind == "methods" and len(parts) > 1 and (SOURCE / "dereflect/methods" / parts[1]).is_dir():
        kind = "methods.*"
    for number, kinds in enumerate(ROOMS):
        if kind in kinds:
            return number
    raise AssertionError(f"{module} stands in no room: give it one in ROOMS")


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import one another, directly or by way of others."""

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = list(graph[start])
        while waiting:
            if (module := waiting.pop()) not in seen:
                seen.add(module)
                waiting += graph[module]
        return seen

    reached = {module: reach(module) for module in graph}
    groups = {
        tuple(sorted(other for other in reached[module] if module in reached[other]))
        for module in graph
        if module in reached[module]
    }
    return [list(group) for group in sorted(groups)]


def test_nothing_imports_in_a_circle():
    assert circles(imports()) == []


def test_the_search_for_circles_finds_one():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}
    assert circles(graph) == [["a", "b", "c"]]


def test_no_import_runs_up():
    up = [f"{a} imports {b}" for a, found in imports().items() for b in sorted(found) if room(b) > room(a)]
    assert up == []


def test_imports_inside_functions_and_for_types_are_seen():
    source = (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import dereflect.one\n"
        "def f():\n    from dereflect import two\n    from dereflect.three import name\n"
    )
    known = {"dereflect", "dereflect.one", "dereflect.two", "dereflect.three"}
    assert set(imported(ast.parse(source), known)) - {"typing"} == known - {"dereflect"}


def test_every_room_is_told_apart():
    names = ("errors", "weights", "data.pairs", "methods.contract", "methods.ytmt.method", "catalog", "cli")
    numbers = [room(f"dereflect.{name}") for name in names]
    assert numbers == sorted(set(numbers))
    with pytest.raises(AssertionError, match="stands in no room"):
        room("dereflect.attic")


def test_no_method_knows_another():
    methods = {module: found for module, found in imports().items() if room(module) == room(A_METHOD)}
    known = [
        f"{module} imports {other}"
        for module, found in methods.items()
        for other in found & set(methods)
        if module.split(".")[2] != other.split(".")[2]
    ]
    assert known == []


def test_families_refer_to_their_own_package_alone():
    for family in families():
        references = [
            family.loader,
            family.recognises_folder,
            family.recognises_file,
            family.traced,
            family.download,
            family.present,
            *family.objectives.values(),
        ]
        references += [*family.verbs.values(), *(made.run for made in family.preparations.values())]
        if family.options != type(family).options:
            references.append(family.options)
        assert [reference for reference in references if reference and not reference.startswith(".")] == []


def test_no_method_is_named_above_the_methods():
    """The catalog registers a method in one line; catalog, training and command line name none."""
    names = {family.name for family in families()} - {"default"}  # which is also an ordinary word
    named = [
        f"{module} {name}"
        for module, tree in modules().items()
        if module.startswith(("dereflect.catalog", "dereflect.training", "dereflect.cli"))
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for name in names & set(re.split(r"\W+", node.value))
    ]
    assert sorted(named) == sorted(2 * [f"dereflect.catalog {name}" for name in names])  # key and value


def test_no_file_is_too_long():
    files = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCE.rglob("*.py")}
    assert [f"{path}: {length} lines" for path, length in files.items() if length > LONGEST_FILE] == []


def test_no_function_is_too_long():
    long = set()
    for module, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                if lines > LONGEST_FUNCTION and room(module) != room("dereflect.nn"):
                    long.add(f"{module}: {node.name}")
    assert sorted(long - ALLOWED) == [], f"more than {LONGEST_FUNCTION} lines"
    assert sorted(ALLOWED - long) == [], "no longer needed in ALLOWED"


DELIBERATE = {
    "Criteria": "the weights of a method's loss, by its training's own module",
    "Data": "a method's group of that name in a recipe",
    "Draws": "the random numbers of one photo, by every rule of synthesis",
    "Optimiser": "a method's group of that name in a recipe",
    "Ranges": "where a rule's `Draws` come from",
    "Settings": "all settings of a method's recipe",
    "Synthesis": "a method's group of that name in a recipe",
}
"""Names of classes and aliases that several modules define on purpose: one thing, once for each owner."""


def names(tree: ast.Module) -> Iterator[str]:
    """Names of the classes and type aliases of a module; constants are written in capitals."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name) and re.fullmatch(r"_?[A-Z]\w*[a-z]\w*", target.id):
                    yield target.id


def test_a_name_means_one_thing():
    owners: dict[str, list[str]] = {}
    for module, tree in modules().items():
        for name in names(tree):
            owners.setdefault(name, []).append(module)
    several = {name: found for name, found in owners.items() if len(found) > 1}
    assert {name: found for name, found in several.items() if name not in DELIBERATE} == {}
    assert sorted(set(DELIBERATE) - set(several)) == [], "no longer needed in DELIBERATE"


def test_the_search_for_names_finds_classes_and_aliases():
    source = (
        "class Job: ...\nPair = tuple[int, int]\nLimit: type = int\nMOST = 3\n_Scan = Job\ndef Work(): ...\n"
    )
    assert list(names(ast.parse(source))) == ["Job", "Pair", "Limit", "_Scan"]

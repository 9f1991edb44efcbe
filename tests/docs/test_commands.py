"""Every command and Python block on the pages: run against a small model, or, with a reason, only parsed.

A comment before a block says how it is tested:

    (none)                          run, in the folder of conftest.py, in the order of the page
    <!-- sh: slow -->               the same, in the slow tests (or py: slow)
    <!-- sh: install -->            changes the machine: parsed; test_project.py checks the extras
    <!-- sh: service -->            curl, against a running service
    <!-- sh: parsed only, WHY -->   parsed: its options exist
    <!-- py: not run, WHY -->       compiled
    <!-- file: NAME.yaml -->        written to that file before the page's commands run
"""

import io
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from doc_pages import PAGES, ROOT, SMALL, Block, Command, blocks, commands, spans

from dereflect.cli import app, main

BLOCKS = [block for page in PAGES for block in blocks(page)]
RUN = [
    page.relative_to(ROOT).as_posix() for page in PAGES if any(b.mark in ("", "slow") for b in blocks(page))
]
SLOW = sorted({block.page for block in BLOCKS if block.mark == "slow"})
SERVICE = [block for block in BLOCKS if block.mark == "service"]
MARKS = re.compile(r"|slow|install|service|run|test|[\w.-]+\.yaml|(parsed only|not run), [^,]{6,}.*")
HEAVY = {"batch": "pyarrow", "video": "cv2", "train": "accelerate"}
"""Verbs that need an extra, and the package that tells whether it is there."""


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_says_its_language_and_how_it_is_tested(block: Block):
    assert block.language in ("sh", "python", "yaml")
    assert MARKS.fullmatch(block.mark), block.mark


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "sh"], ids=str)
def test_options_exist(block: Block):
    for command in commands(block.text):
        for part in chain(command):
            parse(part.words)


@pytest.mark.parametrize("span", sorted({span for page in PAGES for span in spans(page)}))
def test_options_within_sentences_exist(span: str):
    for command in commands(span.replace("OPTION", "")):
        for part in chain(command):
            parse(part.words, whole=False)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.mark.startswith("not run")], ids=str)
def test_python_that_is_not_run_compiles(block: Block):
    compile(block.text, str(block), "exec")


@pytest.mark.parametrize("page", RUN)
def test_the_blocks_of_a_page_run(page: str, world: Path, monkeypatch: pytest.MonkeyPatch):
    run_page(page, monkeypatch, slow=False)


@pytest.mark.slow
@pytest.mark.parametrize("page", SLOW)
def test_all_blocks_of_a_page_run(page: str, world: Path, monkeypatch: pytest.MonkeyPatch):
    run_page(page, monkeypatch, slow=True)


@pytest.fixture(scope="module")
def service(model_folder: Path) -> Iterator[str]:
    pytest.importorskip("fastapi")
    words = ["serve", "--port", "0", "--model", str(model_folder)]
    process = subprocess.Popen([sys.executable, "-m", "dereflect", *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if address := re.search(r"http://127\.0\.0\.1:\d+", line):
                yield address[0]
                break
        else:
            raise AssertionError("the service did not start")
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("block", SERVICE, ids=str)
def test_requests_are_answered(block: Block, service: str, world: Path):
    for command in commands(block.text.replace("http://127.0.0.1:7860", service)):
        done = subprocess.run([*command.words, "--silent", "--fail"], capture_output=True, check=False)
        assert done.returncode == 0, f"{block}: {' '.join(command.words)}: {done.stderr!r}"
        if "-o" in command.words:
            assert Path(command.words[command.words.index("-o") + 1]).stat().st_size > 100


def chain(command: Command) -> Iterator[Command]:
    if command.reads is not None:
        yield from chain(command.reads)
    yield command


def parse(words: list[str], whole: bool = True) -> None:
    """Refuse what `dereflect` would refuse before it does anything.

    Args:
        whole: also require the arguments, which a command within a sentence may leave out.
    """
    places = [index for index, word in enumerate(words) if Path(word).name == "dereflect"]
    if not places:
        assert Path(words[0]).name in OTHER_PROGRAMS, f"{words[0]}: not a program that the pages use"
        return
    command, arguments = typer.main.get_command(app), words[places[0] + 1 :]
    if not arguments or arguments[0].startswith("-"):
        known = {name for parameter in command.params for name in parameter.opts}
        assert set(arguments) <= known, f"dereflect has no {arguments}"
        return
    context = command.make_context("dereflect", [], resilient_parsing=True)
    while hasattr(command, "resolve_command") and arguments and not arguments[0].startswith("-"):
        name, command, arguments = command.resolve_command(context, arguments)
        context = command.make_context(name, list(arguments), parent=context, resilient_parsing=True)
    try:
        command.make_context(context.info_name, list(arguments), parent=context.parent)
    except Exception as error:
        if whole or "Missing" not in str(error.format_message()):
            raise AssertionError(f"{' '.join(words)}: {error.format_message()}") from error


OTHER_PROGRAMS = {
    "cat",
    "curl",
    "docker",
    "node",
    "npm",
    "pip",
    "pipx",
    "python",
    "python3",
    "torchrun",
    "uv",
    "uvx",
}


def run_page(page: str, monkeypatch: pytest.MonkeyPatch, slow: bool) -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    found = blocks(ROOT / page)
    for block in found:
        if block.mark.endswith(".yaml"):
            Path(block.mark).write_text(block.text)
    for block in found:
        if block.mark not in ("", "slow") or (block.mark == "slow" and not slow):
            continue
        if block.language == "python":
            exec(compile(block.text, str(block), "exec"), names)
        elif block.language == "sh":
            for command in commands(block.text):
                code, said = run(command, monkeypatch)
                assert code == 0, f"{block}: {' '.join(command.words)}: exit code {code}\n{said}"


def run(command: Command, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Run one program in this process; gives exit code and standard error."""
    words, given = command.words, b""
    if command.reads is not None:
        assert command.reads.words[0] == "cat"
        given = Path(command.reads.words[1]).read_bytes()
    if words[0] == "dereflect" and words[1] in HEAVY:
        pytest.importorskip(HEAVY[words[1]])
    if any(word.endswith(".dng") for word in words):
        pytest.importorskip("rawpy")
    if words[:2] == ["dereflect", "train"]:
        words = words + SMALL
    elif words[1] == "examples/train_own_data.py":
        words = [*words[:4], *SMALL, *words[4:]]  # argparse wants its values together
    streams = {name: io.TextIOWrapper(io.BytesIO(), write_through=True) for name in ("stdout", "stderr")}
    streams["stdin"] = io.TextIOWrapper(io.BytesIO(given))
    with monkeypatch.context() as patch:
        for name, stream in streams.items():
            patch.setattr(sys, name, stream)
        for name, value in command.environment.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", words if words[0] == "dereflect" else words[1:])
        code = 0
        try:
            if words[0] == "dereflect":
                main()
            else:
                assert words[0] == "python"
                runpy.run_path(str(ROOT / words[1]), run_name="__main__")
        except SystemExit as end:
            code = int(end.code or 0)
    if command.writes:
        Path(command.writes).write_bytes(streams["stdout"].buffer.getvalue())
    return code, streams["stderr"].buffer.getvalue().decode()

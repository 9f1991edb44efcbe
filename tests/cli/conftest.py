import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest


@dataclass
class Ran:
    """What a run of the command line came to."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.strip().splitlines()


@pytest.fixture
def dereflect(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run the command line within this process: `dereflect("separate", ...)`."""
    from dereflect.cli import main

    def run(*words: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["dereflect", *map(str, words)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def separate(dereflect, model_folder) -> Callable[..., Ran]:
    """`dereflect("separate", ...)` with the tiny model on the CPU."""

    def run(*words: object) -> Ran:
        return dereflect("separate", *words, "--model", model_folder, "--device", "cpu")

    return run

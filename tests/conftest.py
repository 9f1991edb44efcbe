import os
from pathlib import Path

import pytest
import torch


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-dir",
        type=Path,
        default=Path(__file__).parent / "golden" / "data",
        help="folder that holds the fixture folders ytmt, dmdnet and diffrs",
    )


@pytest.fixture(autouse=True)
def _deterministic() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _source_on_path_of_child_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tests that start `python -m dereflect` find this checkout's source, installed or not."""
    source = str(Path(__file__).parent.parent / "src")
    known = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", source + (os.pathsep + known if known else ""))

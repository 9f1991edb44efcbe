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

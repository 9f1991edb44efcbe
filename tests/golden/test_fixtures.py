from pathlib import Path

import pytest
import torch
from fixtures import GoldenFile, golden_files, run_check
from safetensors.torch import save_file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sums.safetensors"
    save_file({"a.x": torch.arange(3.0), "a.sum": torch.tensor(3.0)}, path, metadata={"seed": "7"})
    return path


def check_sums(file: GoldenFile) -> None:
    assert file.metadata["seed"] == "7"
    file.compare("a.sum", file.take("a.x").sum(), atol=1e-6)


def test_full_check_passes(file: Path):
    run_check(file, {"sums": check_sums})


def test_unknown_file_fails(file: Path):
    with pytest.raises(AssertionError, match="no check knows"):
        run_check(file, {"other": check_sums})


def test_entry_left_out_fails(file: Path):
    with pytest.raises(AssertionError, match=r"a\.sum"):
        run_check(file, {"sums": lambda file: file.take("a.x")})


@pytest.mark.parametrize("wrong", [3.1, float("nan"), torch.zeros(2)])
def test_wrong_value_fails(file: Path, wrong):
    with pytest.raises(AssertionError, match=r"a\.sum"):
        GoldenFile(file).compare("a.sum", wrong, atol=1e-3)


def test_documents_are_not_fixtures(file: Path):
    (file.parent / "README.md").write_text("words")
    (file.parent / "extra.bin").write_bytes(b"?")
    assert [path.name for path in golden_files(file.parent)] == ["extra.bin", "sums.safetensors"]

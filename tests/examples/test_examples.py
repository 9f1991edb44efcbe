"""The example scripts and the notebook run from beginning to end, offline."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run an example with some words, in this process; gives what it printed."""

    def run(name: str, *words: object) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def picture(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((96, 80), Image.Resampling.BICUBIC).save(path)
    return path


def test_one_photo(run, model_folder: Path, tmp_path: Path):
    said = run(
        "one_photo.py", picture(tmp_path / "a.png", 1), "-o", tmp_path / "out", "--model", model_folder
    )
    assert "whole in" in said
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "a_transmission.png",
        "a_reflection.png",
        "a_side_by_side.png",
    }


def test_a_folder(run, model_folder: Path, tmp_path: Path):
    pytest.importorskip("fsspec")
    pytest.importorskip("pyarrow")
    for seed in range(2):
        picture(tmp_path / "photos" / f"{seed}.jpg", seed)
    words = (tmp_path / "photos", tmp_path / "out", "--model", model_folder)
    assert "2 separated, 0 were there already" in run("folder.py", *words)
    assert "0 separated, 2 were there already" in run("folder.py", *words)


def test_comparing_two_methods(run, model_folder: Path, tmp_path: Path):
    for seed in range(2):
        picture(tmp_path / "blended" / f"{seed}.png", seed)
        picture(tmp_path / "transmission_layer" / f"{seed}.png", seed)
    said = run("compare_two_methods.py", tmp_path, model_folder, model_folder / "model.safetensors")
    assert "over 2 pairs" in said
    assert len(said.splitlines()) == 4


def test_training_on_own_data(run, tmp_path: Path):
    pytest.importorskip("accelerate")
    for seed in range(30):
        picture(tmp_path / "data" / "photos" / f"{seed}.png", seed)
    network = (
        "settings.network={widths: [8, 8, 8], encoder_blocks: [1, 1, 1], decoder_blocks: [1, 1], "
        "head_width: 8, encoder: "
        "}"
    )
    run(
        "train_own_data.py",
        tmp_path / "data",
        tmp_path / "run",
        network,
        "crop=64",
        "batch_size=2",
        "precision=float32",
        "--steps=2",
        "--from-scratch",
    )
    from dereflect.catalog import load_method

    method, _ = load_method(tmp_path / "run" / "model")
    assert method.family == "default"


def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for needed in ("fsspec", "pyarrow", "av", "cv2"):
        pytest.importorskip(needed)
    notebook = json.loads((ROOT / "notebooks" / "tour.ipynb").read_text())
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(code) >= 6
    assert not any(cell.get("outputs") for cell in notebook["cells"])  # none of another version's pictures
    monkeypatch.chdir(ROOT / "notebooks")
    names: dict[str, object] = {"__name__": "__main__"}
    for number, text in enumerate(code):
        exec(compile(text, f"cell {number}", "exec"), names)

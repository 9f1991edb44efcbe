import json

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("diffusers")

from tiny_diffrs import make_pipeline
from typer.testing import CliRunner

from dereflect.catalog import load_method
from dereflect.cli import app
from dereflect.cli.explain import heat
from dereflect.errors import InputError, ModelError


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("diffrs")
    make_pipeline().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def photo(tmp_path) -> str:
    pixels = np.random.default_rng(0).integers(0, 256, (45, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "window.png")
    return str(tmp_path / "window.png")


def run(*words: str):
    return CliRunner().invoke(app, [*words], catch_exceptions=False)


def separate(photo: str, model: str, folder, *more: str):
    small = ["--steps", "2", "--set", "resolution=64", "--set", "k=0.2", "--set", "w=0.8", "--device", "cpu"]
    return run("separate", photo, "--model", model, *small, "-o", str(folder), *more)


def test_a_photo_is_separated_at_its_own_size_and_explained(photo, model, tmp_path):
    out = tmp_path / "out"
    result = separate(photo, model, out, "--explain", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout.splitlines()[0])
    names = ("transmission", "reflection", "unexplained", "invented")
    assert sorted(path.name for path in out.iterdir()) == sorted(f"window_{name}.png" for name in names)
    assert {Image.open(out / f"window_{name}.png").size for name in names} == {(70, 45)}
    again = separate(photo, model, out, "--explain")
    assert again.exit_code != 0  # nothing is overwritten
    (out / "window_transmission.png").unlink()
    only = separate(photo, model, out, "--explain", "--skip-existing")
    assert only.exit_code == 0
    assert (out / "window_transmission.png").is_file()


def test_results_depend_on_the_seed_and_not_on_the_order_of_files(photo, model, tmp_path):
    other = tmp_path / "a.png"
    Image.open(photo).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(other)
    small = ["--steps", "2", "--set", "resolution=64", "--device", "cpu", "--model", model]
    run("separate", photo, *small, "-o", str(tmp_path / "alone"))
    run("separate", str(other), photo, *small, "-o", str(tmp_path / "second"))
    run("separate", photo, *small, "--seed", "1", "-o", str(tmp_path / "seed"))
    alone, second, seed = (
        (tmp_path / name / "window_transmission.png").read_bytes() for name in ("alone", "second", "seed")
    )
    assert alone == second
    assert alone != seed


def test_a_method_without_maps_refuses_explain(photo, tmp_path):
    with pytest.raises(InputError, match="default has no such maps"):
        run("separate", photo, "--explain", "-o", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_heat_runs_from_black_over_red_and_yellow_to_white():
    colours = heat(torch.tensor([[0.0, 1 / 3, 2 / 3, 1.0]]))
    assert [colours.getpixel((x, 0)) for x in range(4)] == [
        (0, 0, 0),
        (255, 0, 0),
        (255, 255, 0),
        (255, 255, 255),
    ]


def test_download_asks_first_and_names_what_there_is(tmp_path, monkeypatch):
    monkeypatch.setenv("DEREFLECT_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"would fetch about 5\.4 GB.*yes=True to agree"):
        run("models", "download", "diffrs")
    with pytest.raises(ModelError, match="nothing to download"):
        run("models", "download", "default")
    with pytest.raises(ModelError, match="nothing: no model of this name"):
        run("models", "download", "nothing")
    with pytest.raises(ModelError, match=r"diffrs: its weights are not here.*models download diffrs --yes"):
        load_method("diffrs")

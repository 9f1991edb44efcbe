import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing import event_accumulator
from typer.testing import CliRunner

from dereflect.catalog import load_method
from dereflect.cli import app
from dereflect.data.crops import held_out
from dereflect.errors import InputError, RecipeError
from dereflect.methods.default.crops import GlassCrops
from dereflect.methods.default.objective import DefaultObjective
from dereflect.methods.default.settings import Settings
from dereflect.methods.objective import Moment

RECIPE = "default"
TINY = (
    "{widths: [8, 8, 8], encoder_blocks: [1, 1, 1], decoder_blocks: [1, 1], head_width: 8, features: false}"
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)

    def picture(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        small = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(small).resize((96, 80), Image.Resampling.BICUBIC).save(path)

    for number in range(30):
        picture(tmp_path / "data/photos" / f"{number}.png")
    for name in ("005", "006"):
        picture(tmp_path / "data/pairs/blended" / f"{name}.png")
        picture(tmp_path / "data/pairs/transmission_layer" / f"{name}.png")
    return tmp_path / "data"


def overrides(data: Path, output: Path) -> list[str]:
    return [
        f"data={data}",
        f"output={output}",
        f"settings.network={TINY}",
        "crop=64",
        "settings.grow={}",
        "steps=3",
        "batch_size=2",
        "precision=float32",
        "log_every=1",
    ]


def test_the_recipe_trains_and_the_command_line_can_load_what_it_exports(data: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["train", RECIPE, *overrides(data, tmp_path / "run")])
    assert result.exit_code == 0, result.output
    method, _ = load_method(tmp_path / "run/model")
    transmission, _ = method(torch.rand(1, 3, 64, 64))
    assert transmission.shape == (1, 3, 64, 64)
    records = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert "valid_pairs_gain" in records[-1]
    events = event_accumulator.EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()
    assert events.Tags()["images"] == [f"crop_{index}" for index in range(4)]
    assert events.Images("crop_0")[0].width == 5 * 64


def test_check_validates_and_trains_nothing(data: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["train", RECIPE, "--check", *overrides(data, tmp_path / "run")])
    assert result.exit_code == 0
    assert "3 steps of 2 samples" in result.output
    assert not (tmp_path / "run").exists()


def test_samples_depend_on_epoch_and_index_alone(data: Path) -> None:
    samples = GlassCrops(Settings(pairs="pairs", crop=64), data)
    first = samples.draw(1, 7)
    samples.draw(0, 0)
    again = samples.draw(1, 7)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["blended"], samples.draw(2, 7)["blended"])


def test_held_out_pictures_are_never_drawn(data: Path) -> None:
    samples = GlassCrops(Settings(pairs="pairs", held_out_pairs=["005"], held_out_every=3), data)
    kept = [path for path in sorted((data / "photos").iterdir()) if not held_out(path, 3)]
    assert 0 < len(kept) < 30
    assert len(samples.photos) == len(kept)
    assert len(samples.pairs) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop": 100}, "settings.crop: 100 is not a multiple of 32"),
        ({"cropp": 64}, "unknown key 'cropp'"),
        ({"network": {"width": 3}}, "settings.network: .*unexpected keyword argument 'width'"),
        ({"real_share": 2}, "real_share: .*less than or equal to 1"),
    ],
)
def test_wrong_settings_are_named(data: Path, settings: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        DefaultObjective(settings, {"data": data})


def test_a_pair_without_partner_is_named(data: Path) -> None:
    (data / "pairs/transmission_layer/006.png").unlink()
    with pytest.raises(InputError, match="006"):
        GlassCrops(Settings(pairs="pairs"), data)


def test_a_folder_without_photos_is_named(data: Path) -> None:
    with pytest.raises(InputError, match="nothing"):
        DefaultObjective({"photos": "nothing", "network": {"features": False}}, {"data": data})


def test_crops_grow_from_the_named_sample_on(data: Path) -> None:
    samples = GlassCrops(Settings(crop=32, grow={4: 64}, crops_per_epoch=3), data)
    sides = [samples.draw(*divmod(number, 3))["blended"].shape[-1] for number in range(6)]
    assert sides == [32, 32, 32, 32, 64, 64]


def test_the_logarithm_weighs_each_crops_psnr_and_not_estimated_reflections(data: Path) -> None:
    batch = {name: torch.rand(2, 3, 32, 32) for name in ("blended", "transmission", "reflection")}
    batch["weight"] = torch.tensor([1.0, 0.0]).view(2, 1, 1, 1)

    def loss(logarithm: float) -> float:
        settings = {"network": {"features": False}, "reflection": 0.5, "logarithm": logarithm}
        objective = DefaultObjective(settings, {"data": data})
        objective.networks["separator"] = Halves()
        return float(next(objective.turns(batch, Moment(0, 0, 1))).loss)

    def log_error(layer: str) -> torch.Tensor:
        return ((batch["blended"] / 2 - batch[layer]).square().mean((1, 2, 3)) + 1e-4).log()

    wanted = log_error("transmission").mean() + 0.5 * log_error("reflection")[0] / 2
    assert loss(0.1) - loss(0.0) == pytest.approx(0.1 * wanted.item(), rel=1e-4)


class Halves(torch.nn.Module):
    """Gives each layer half of the light."""

    def forward(self, blended: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return blended / 2, blended / 2

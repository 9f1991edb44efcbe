import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing import event_accumulator
from typer.testing import CliRunner

from dereflect.catalog import load_method
from dereflect.cli import app
from dereflect.data.crops import held_out
from dereflect.data.pairs import read_pairs
from dereflect.errors import InputError, RecipeError
from dereflect.images.fidelity import align
from dereflect.methods.default.crops import GlassCrops, develop
from dereflect.methods.default.losses import global_tone, losses
from dereflect.methods.default.network import DefaultConfig, DefaultNetwork, Estimate
from dereflect.methods.default.objective import DefaultObjective
from dereflect.methods.default.settings import Settings, read_settings
from dereflect.methods.default.validation import measure

RECIPE = "default"
TINY = "{widths: [8, 8, 8], encoder_blocks: [1, 1, 1], decoder_blocks: [1, 1], head_width: 8, encoder: }"


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


def test_a_measured_set_whose_pairs_do_not_fit_together_gives_no_numbers(data: Path) -> None:
    pairs = read_pairs(data / "pairs", check_sizes=False)
    network = DefaultNetwork(DefaultConfig(widths=(8, 8, 8), head_width=8, encoder=""))
    assert measure(network, pairs, side=64).keys() == {"psnr", "gain", "median", "aligned", "worse"}
    for pair in pairs:
        Image.open(pair.transmission).crop((0, 0, 80, 80)).save(pair.transmission)
    assert measure(network, pairs, side=64) == {}


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
    assert not torch.equal(first["scene"], samples.draw(2, 7)["scene"])


def test_held_out_pictures_are_never_drawn(data: Path) -> None:
    samples = GlassCrops(Settings(pairs="pairs", held_out_pairs=["005"], held_out_every=3), data)
    kept = [path for path in sorted((data / "photos").iterdir()) if not held_out(path, 3)]
    assert 0 < len(kept) < 30
    assert len(samples.photos) == len(kept)
    assert len(samples.pairs) == 1


def test_no_photo_left_to_train_on_is_said(data: Path) -> None:
    with pytest.raises(InputError, match="data: no photo is left to train on"):
        GlassCrops(Settings(held_out_every=1), data)
    pairs_alone = GlassCrops(Settings(held_out_every=1, pairs="pairs", real_share=1), data)
    assert pairs_alone.draw(0, 0)["real"] == 1


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
        DefaultObjective({"photos": "nothing", "network": {"encoder": ""}}, {"data": data})


def test_crops_grow_from_the_named_sample_on(data: Path) -> None:
    samples = GlassCrops(Settings(crop=32, grow={4: 64}, crops_per_epoch=3), data)
    sides = [samples.draw(*divmod(number, 3))["scene"].shape[-1] for number in range(6)]
    assert sides == [32, 32, 32, 32, 64, 64]


@pytest.fixture
def found() -> Estimate:
    torch.manual_seed(0)
    return Estimate(*(torch.rand(2, 3, 32, 32) for _ in range(3)), tone=torch.rand(2, 6))


@pytest.fixture
def wanted() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    layers = {name: torch.rand(2, 3, 32, 32) for name in ("blended", "transmission", "reflection")}
    return layers | {"weight": torch.tensor([1.0, 0.0]).view(2, 1, 1, 1)}


def loss(found: Estimate, wanted: dict[str, torch.Tensor], judge: Any = None, **settings: float) -> float:
    nothing = dict.fromkeys(("pixel", "square", "gradient", "reflection"), 0.0)
    return losses(Settings(**nothing | settings), found, wanted, judge)[0].item()


def test_the_logarithm_weighs_each_crops_psnr(found: Estimate, wanted: dict[str, torch.Tensor]) -> None:
    error = (found.transmission - wanted["transmission"]).square().mean((1, 2, 3))
    assert loss(found, wanted, logarithm=0.1) == pytest.approx(
        0.1 * (error + 1e-4).log().mean().item(), rel=1e-5
    )


def test_the_aligned_term_sees_separation_and_no_tone(
    found: Estimate, wanted: dict[str, torch.Tensor]
) -> None:
    truth, gain = wanted["transmission"], torch.tensor([0.5, 0.8, 1.2])[:, None, None]
    toned = found._replace(transmission=gain * truth + 0.1)
    assert loss(toned, wanted, aligned=1.0) == pytest.approx(math.log(1e-4), abs=0.05)
    mixed = gain * truth + 0.1 + 0.2 * wanted["reflection"]
    best = [
        torch.from_numpy(align(*(x.permute(1, 2, 0).numpy() for x in pair)))
        for pair in zip(mixed, truth, strict=True)
    ]
    error = torch.stack(best).permute(0, 3, 1, 2) - truth
    expected = (error.square().mean((1, 2, 3)) + 1e-4).log().mean().item()
    assert loss(found._replace(transmission=mixed), wanted, aligned=1.0) == pytest.approx(expected, abs=1e-3)


def test_estimated_reflections_count_as_little_as_their_weight(
    found: Estimate, wanted: dict[str, torch.Tensor]
) -> None:
    before = loss(found, wanted, reflection=1.0, logarithm=0.0)
    wanted["reflection"][1] = 0
    assert loss(found, wanted, reflection=1.0) == before
    wanted["reflection"][0] = 0
    assert loss(found, wanted, reflection=1.0) != before


def test_global_tone_is_the_best_gain_and_offset() -> None:
    photo = torch.rand(1, 3, 64, 64)
    gain, offset = torch.tensor([0.7, 1.1, 0.9]), torch.tensor([0.1, -0.05, 0.0])
    tone = global_tone(photo, photo * gain[:, None, None] + offset[:, None, None])[0]
    torch.testing.assert_close(tone, torch.cat([gain - 1, offset]), atol=1e-2, rtol=0)


def test_the_remainder_explains_what_the_layers_do_not(
    found: Estimate, wanted: dict[str, torch.Tensor]
) -> None:
    right = wanted["blended"] - found.transmission - found.reflection
    assert loss(found._replace(remainder=right), wanted, remainder=1.0) == pytest.approx(0, abs=1e-6)
    assert loss(found, wanted, remainder=1.0) > 0.1


def test_the_judge_sees_no_fault_in_the_truth(found: Estimate, wanted: dict[str, torch.Tensor]) -> None:
    def judge(picture: torch.Tensor) -> list[torch.Tensor]:
        return [picture, picture[..., ::2, ::2]]

    assert loss(found._replace(transmission=wanted["transmission"]), wanted, judge, perceptual=1.0) == 0
    assert loss(found, wanted, judge, perceptual=1.0) > 0.1


def test_a_real_pair_is_developed_as_it_is(data: Path) -> None:
    samples = GlassCrops(Settings(pairs="pairs", crop=64, real_share=1), data)
    sample = {key: value[None] for key, value in samples.draw(0, 0).items()}
    crop = develop(sample, real_reflection=0.25)
    assert torch.equal((crop["blended"] * 255).round().byte(), sample["mirrored"])
    assert torch.equal((crop["transmission"] * 255).round().byte(), sample["scene"])
    assert crop["weight"].item() == 0.25


@pytest.mark.parametrize("real", [0, 1])
@pytest.mark.parametrize("share", [0, 1])
def test_a_share_of_crops_loses_its_colours_in_all_layers(data: Path, real: int, share: int) -> None:
    samples = GlassCrops(Settings(pairs="pairs", crop=64, real_share=real, grey=share), data)
    sample = {key: value[None] for key, value in samples.draw(0, 1).items()}
    torch.manual_seed(0)
    crop = develop(sample)
    torch.manual_seed(0)
    coloured = develop(sample | {"grey": torch.zeros(1, 1)})
    for layer in ("blended", "transmission", "reflection"):
        red, green, blue = coloured[layer].unbind(1)
        wanted = (0.299 * red + 0.587 * green + 0.114 * blue)[:, None].expand(-1, 3, -1, -1)
        torch.testing.assert_close(crop[layer], wanted if share else coloured[layer])
        assert not torch.allclose(wanted, coloured[layer], atol=1e-3)


def test_colours_are_lost_without_other_draws(data: Path) -> None:
    plain, grey = (GlassCrops(Settings(pairs="pairs", crop=64, grey=share), data) for share in (0.0, 0.5))
    for index in range(4):
        one, other = plain.draw(0, index), grey.draw(0, index)
        assert all(torch.equal(one[key], other[key]) for key in one if key != "grey")


def test_settings_take_one_name_several_or_none() -> None:
    assert Settings(pairs=None).pairs == []
    assert Settings(pairs="a").pairs == ["a"]
    assert Settings(pairs=["a", "b"]).pairs == ["a", "b"]


def test_an_unknown_effect_of_glass_is_named() -> None:
    with pytest.raises(RecipeError, match="ghosts"):
        read_settings({"glass": {"ghosts": 0.5}})

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("diffusers")
pytest.importorskip("accelerate")

from tiny_diffrs import make_pipeline, tiny_unet
from typer.testing import CliRunner

from dereflect import recipes
from dereflect.catalog import load_method
from dereflect.cli import app
from dereflect.errors import RecipeError
from dereflect.methods.diffrs.attention import JointAttention
from dereflect.methods.diffrs.method import load_pipeline
from dereflect.methods.diffrs.noise import multi_resolution_noise
from dereflect.methods.diffrs.objective import draw_timesteps, warm_exponential
from dereflect.methods.diffrs.starting_point import assemble, widen_unet
from dereflect.methods.diffrs.training_crops import CropSettings, LayerCrops
from dereflect.methods.objective import Moment
from dereflect.training.recipe import load_recipe, parse_recipe
from dereflect.training.trainer import prepare

RECIPES = recipes.FOLDER
PARTS = ["unet", "synthesis", "fgfm"]
OWN = {"unet": "unet", "synthesis": "synthesis", "fgfm": "fusion"}
NO_VALIDATION = {"validation": {"pictures": 0}}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for place in ["photos/photo{}"] * 6 + ["pairs/blended/a", "pairs/transmission_layer/a"]:
        number = len(list(folder.glob("photos/*")))
        path = folder / f"{place.format(number)}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (80, 96, 3), dtype=np.uint8)).save(path)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    make_pipeline().save_pretrained(folder)
    return folder


def recipe(part: str, data: Path, model: Path, output: Path, steps: int = 3, **settings):
    own = {
        "model": str(model),
        "crop": 64,
        "held_out_every": 3,
        "validation": {"pictures": 1, "steps": 2},
        "crops_per_epoch": 50,
    }
    if part == "fgfm":
        own |= {"perceptual": 0.0, "latent_count": 3, "latent_steps": 2}
    schedule = {"steps": steps, "batch_size": 1, "device": "cpu", "workers": 0, "log_every": 1, "seed": 5}
    return parse_recipe(
        {
            "objective": f"diffrs-{part}",
            "data": str(data),
            "output": str(output),
            "settings": own | settings,
            "schedule": schedule,
        }
    )


@pytest.fixture(scope="module")
def latents(data, model) -> Path:
    from dereflect.methods.diffrs.fusion_training import make_latents

    read = recipe("fgfm", data, model, data)
    return make_latents(read.settings | {"seed": 5}, {"data": data}, torch.device("cpu"), lambda *_: None)


def weights(folder: Path, part: str) -> torch.Tensor:
    network = getattr(load_pipeline(folder), part)
    return torch.cat([parameter.flatten() for parameter in network.parameters()])


@pytest.mark.parametrize("part", PARTS)
def test_training_changes_its_part_alone_and_gives_a_model_that_separates(
    part, data, model, latents, tmp_path
):
    trainer = prepare(recipe(part, data, model, tmp_path))
    trained = trainer.run()
    for name in ("unet", "vae", "synthesis", "fusion", "prompts"):
        same = torch.equal(weights(trained, name), weights(model, name))
        assert same == (name != OWN[part]), name
    method, _ = load_method(trained, {"steps": "2", "resolution": "64"})
    transmission, _ = method(torch.rand(1, 3, 30, 40), generator=torch.Generator().manual_seed(0))
    assert transmission.isfinite().all()
    assert Image.open(trained / "validation.png").size == (5 * 64, 64)
    assert [row.shape for row in trainer.objective.pictures().values()] == [(3, 64, 5 * 64)]
    log = (tmp_path / "log.jsonl").read_text()
    assert "valid_transmission_psnr" in log
    assert "valid_reflection_gain" in log


@pytest.mark.parametrize("part", PARTS)
def test_a_resumed_training_equals_an_unbroken_one(part, data, model, latents, tmp_path):
    settings = dict(NO_VALIDATION)
    if part == "fgfm":
        settings |= {"adversarial": 0.025, "adversarial_from": 1}
    whole = prepare(recipe(part, data, model, tmp_path / "whole", 4, **settings)).run()
    broken = prepare(recipe(part, data, model, tmp_path / "broken", 4, **settings))
    broken.total_steps = 2  # as if it had been stopped there
    broken.run()
    resumed = prepare(recipe(part, data, model, tmp_path / "broken", 4, **settings))
    assert torch.equal(weights(resumed.run(), OWN[part]), weights(whole, OWN[part]))


def test_training_from_a_base_model_starts_where_the_base_model_was():
    stock = tiny_unet(in_channels=4, classes=None).eval()
    widened = widen_unet(stock).eval()
    z, prompts = torch.randn(2, 4, 8, 8), torch.randn(2, 7, 16)
    with torch.no_grad():
        before = stock(z, 500, prompts).sample
        after = widened(torch.cat([z, z], dim=1), 500, prompts, class_labels=torch.tensor([0, 1])).sample
    assert torch.allclose(before, after, atol=1e-5)
    assert widen_unet(stock, "normal").class_embedding.weight.abs().max() > 0
    parts = make_pipeline()
    assert assemble(widened, parts.vae, parts.prompts, parts.scheduler).fusion is None


def test_a_pipeline_without_fusion_gets_fresh_blocks(data, model, latents, tmp_path):
    pipeline = load_pipeline(model)
    pipeline.register_modules(fusion=None)
    pipeline.save_pretrained(tmp_path / "bare")
    assert load_pipeline(tmp_path / "bare").fusion is None
    trained = prepare(recipe("fgfm", data, tmp_path / "bare", tmp_path / "run", **NO_VALIDATION)).run()
    assert load_pipeline(trained).fusion is not None


def test_layers_are_joined_while_the_unet_trains_and_switchable(data, model, tmp_path):
    for attention in (True, False):
        trainer = prepare(recipe("unet", data, model, tmp_path, attention=attention))
        processors = trainer.objective.plain("unet").attn_processors.values()
        assert any(isinstance(processor, JointAttention) for processor in processors) == attention


def one_batch(samples: LayerCrops, **changed) -> dict[str, torch.Tensor]:
    return {key: value[None] for key, value in (samples.draw(0, 0) | changed).items()}


def first_turn(objective, batch, seed: int = 0):
    torch.manual_seed(seed)
    return next(iter(objective.turns(batch, Moment(200, 0, 1000))))


@pytest.mark.parametrize("annealed", [False, True])
@pytest.mark.parametrize("strength", [0.0, 0.9])
def test_noise_of_the_unet_training_is_the_recipes(strength, annealed, data, model, tmp_path):
    options = {"multi_resolution": strength, "annealed": annealed} | NO_VALIDATION
    objective = prepare(recipe("unet", data, model, tmp_path, **options)).objective
    shape, timesteps = torch.Size([4, 4, 8, 8]), torch.tensor([100, 700, 100, 700])
    torch.manual_seed(0)
    found = objective._noise(shape, timesteps)
    torch.manual_seed(0)
    if strength:
        own = strength * timesteps[:2] / 1000 if annealed else strength
        expected = torch.cat([multi_resolution_noise((2, 4, 8, 8), own) for _ in range(2)])
    else:
        expected = torch.randn(shape)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("known", [0.0, 1.0])
def test_a_reflection_that_is_not_known_is_not_learned(known, data, model, tmp_path):
    objective = prepare(recipe("unet", data, model, tmp_path, attention=False, **NO_VALIDATION)).objective
    batch = one_batch(objective.samples, known=torch.tensor([known]))
    turn, other = (
        first_turn(objective, batch | {"reflection": r})
        for r in (batch["reflection"], torch.zeros(1, 3, 64, 64))
    )
    assert torch.equal(turn.loss, other.loss) == (known == 0)
    expected = (turn.logs["transmission"] + known * turn.logs["reflection"]) / (1 + known)
    torch.testing.assert_close(turn.loss.detach(), expected)


def test_pairs_have_a_known_reflection_where_the_recipe_says_so(data):
    for kind, known in (("none", 0), ("residual", 1)):
        settings = CropSettings(crop=64, pairs="pairs", real_share=1.0, pair_reflection=kind)
        assert LayerCrops(settings, data).draw(0, 0)["known"] == known


def test_checkpointing_changes_memory_and_not_the_result(data, model, tmp_path):
    results = [
        weights(
            prepare(recipe("unet", data, model, tmp_path / str(on), checkpointing=on, **NO_VALIDATION)).run(),
            "unet",
        )
        for on in (False, True)
    ]
    assert torch.allclose(*results, atol=1e-6)


def test_estimates_of_the_unet_can_train_the_synthesis_network(data, model, tmp_path):
    seen = []
    for share in (0.0, 1.0):
        settings = {"estimate_share": share} | NO_VALIDATION
        objective = prepare(recipe("synthesis", data, model, tmp_path, **settings)).objective
        objective.networks["synthesis"].register_forward_pre_hook(lambda _, layers: seen.append(layers))
        batch = one_batch(objective.samples)
        first_turn(objective, batch).loss.backward()
    true = objective.latents(batch["transmission"], batch["reflection"])
    for layer in range(2):
        assert torch.equal(seen[0][layer], true[layer])
        assert seen[1][layer].shape == true[layer].shape
        assert not torch.allclose(seen[1][layer], true[layer], atol=1e-3)
    assert all(parameter.grad is None for parameter in objective.helpers["unet"].parameters())


def test_both_layers_of_a_picture_have_one_timestep(model):
    scheduler = load_pipeline(model).scheduler
    torch.manual_seed(0)
    first, second = draw_timesteps(scheduler, torch.zeros(500, 4, 1, 1)).chunk(2)
    assert torch.equal(first, second)
    assert first.unique().numel() > 300
    assert 0 <= first.min() < 20
    assert 980 < first.max() < scheduler.config.num_train_timesteps


def test_learning_rate_is_the_recipes(data, model, tmp_path):
    objective = prepare(recipe("unet", data, model, tmp_path)).objective
    for step in (0, 50, 100, 12500, 25000, 30000):
        rate = objective.learning_rate("unet", Moment(step, 0, 30000))
        assert rate == pytest.approx(3e-5 * warm_exponential(step))
    assert objective.learning_rate("unet", Moment(30000, 0, 30000)) == pytest.approx(3e-7)


def test_crops_depend_on_their_number_alone_and_validation_has_its_own(data):
    settings = CropSettings(crop=64, held_out_every=3)
    first, again = LayerCrops(settings, data), LayerCrops(settings, data)
    again.draw(0, 3)
    a, b = first.draw(1, 2), again.draw(1, 2)
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not torch.equal(a["blended"], first.draw(1, 3)["blended"])
    assert a["blended"].shape == (3, 64, 64)
    held = LayerCrops(settings, data, validation=True)
    assert len(held.photos) + len(first.photos) == 6
    pair = LayerCrops(CropSettings(crop=64, pairs="pairs", real_share=1.0), data).draw(0, 0)
    assert torch.equal(pair["reflection"], (pair["blended"] - pair["transmission"]).clamp(0, 1))


def test_latents_are_made_by_the_command_and_kept(data, model, tmp_path):
    (tmp_path / "photos").mkdir()
    for path in (data / "photos").iterdir():
        (tmp_path / "photos" / path.name).write_bytes(path.read_bytes())
    command = [
        "latents",
        str(RECIPES / "diffrs_fgfm.yaml"),
        f"data={tmp_path}",
        f"settings.model={model}",
        "settings.crop=64",
        "settings.latent_count=2",
        "settings.latent_steps=2",
        "settings.held_out_every=0",
        "device=cpu",
    ]
    assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0
    files = sorted((tmp_path / "latents").iterdir())
    assert [path.name for path in files] == ["00000000.safetensors", "00000001.safetensors"]
    times = [path.stat().st_mtime_ns for path in files]
    refused = CliRunner().invoke(app, [*command[:-2], "settings.held_out_every=1", "device=cpu"])
    assert refused.exit_code == 1
    assert "every photo is held out" in str(refused.exception)
    CliRunner().invoke(app, command, catch_exceptions=False)
    assert [path.stat().st_mtime_ns for path in files] == times


@pytest.mark.parametrize(
    ("part", "settings", "words"),
    [
        ("unet", {"model": "/no/such"}, "settings.model.*no model_index"),
        ("unet", {"crop": 100}, "crop"),
        ("unet", {"multi_resolution": 1.0}, "multi_resolution"),
        ("unet", {"rate": 1}, "unknown key 'rate'"),
        ("unet", {"photos": "none"}, "none"),
        ("unet", {"held_out_every": 1}, "every photo is held out"),
        ("unet", {"real_share": 0.5}, "settings.real_share: there are no pairs"),
        ("synthesis", {"pairs": "pairs", "real_share": 0.5, "pair_reflection": "none"}, "needs a reflection"),
        ("fgfm", {"latents": "none"}, "no generated latents; make them with  dereflect latents"),
        ("fgfm", {"perceptual": 1.0, "vgg": "/no/such.pth"}, "vgg"),
    ],
)
def test_faults_of_a_recipe_are_found_before_training(part, settings, words, data, model, latents, tmp_path):
    own = dict(settings)
    chosen = Path(own.pop("model", model))
    with pytest.raises(RecipeError, match=words):
        prepare(recipe(part, data, chosen, tmp_path, **own))


def test_no_backbone_weights_is_said(data, model, latents, tmp_path, monkeypatch):
    monkeypatch.setenv("DEREFLECT_CACHE", str(tmp_path))
    monkeypatch.delenv("DEREFLECT_VGG19", raising=False)
    with pytest.raises(RecipeError, match=r"VGG-19 weights: are needed.*settings\.perceptual=0"):
        prepare(recipe("fgfm", data, model, tmp_path, perceptual=1.0))


@pytest.mark.parametrize("part", PARTS)
def test_the_shipped_recipes_are_valid(part, data, model, latents, tmp_path):
    overrides = [
        f"data={data}",
        f"settings.model={model}",
        f"output={tmp_path}",
        "settings.crop=64",
        "settings.held_out_every=3",
        "device=cpu",
        "accumulate=1",
        "batch_size=1",
    ]
    if part == "fgfm":
        overrides.append("settings.perceptual=0")
    trainer = prepare(load_recipe(RECIPES / f"diffrs_{part}.yaml", overrides))
    assert trainer.total_steps == {"unet": 30000, "synthesis": 8000, "fgfm": 20000}[part]

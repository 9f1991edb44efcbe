from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_rdnet import TINY, lightning_file, tiny_network

from dereflect.catalog import load_method
from dereflect.data.synthesis import rdnet as rule
from dereflect.errors import ModelError, RecipeError
from dereflect.methods.objective import Moment
from dereflect.methods.rdnet.criteria import NAMED, Criteria
from dereflect.methods.rdnet.network import RDNet
from dereflect.methods.rdnet.objective import RDNetObjective, fresh_network, training_samples
from dereflect.methods.rdnet.settings import read_settings
from dereflect.training.recipe import Recipe, load_recipe
from dereflect.training.trainer import prepare
from residual_training import make_data


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_data(tmp_path / "data")


@pytest.fixture
def start(tmp_path: Path) -> Path:
    torch.save(lightning_file(tiny_network()), tmp_path / "start.ckpt")
    return tmp_path / "start.ckpt"


def tiny_recipe(data: Path, output: Path, start: Path, *more: str) -> Recipe:
    network = ", ".join(f"{key}: {list(v) if isinstance(v, tuple) else v}" for key, v in TINY.items())
    return load_recipe(
        "rdnet",
        [
            f"data={data}",
            f"output={output}",
            f"settings.network={{{network}}}",
            f"start={start}",
            "settings.criteria.perceptual=0",
            "settings.data.crop=32",
            "settings.data.scale=[32, 48]",
            "schedule.epochs=null",
            "steps=4",
            "device=cpu",
            "workers=1",
            *more,
        ],
    )


def settings_of(recipe: Recipe, **changes):
    return read_settings({**recipe.settings, **changes})


def test_training_learns_exports_and_resumes_exactly(data: Path, tmp_path: Path, start: Path):
    whole = prepare(tiny_recipe(data, tmp_path / "whole", start))
    folder = whole.run()
    prepare(tiny_recipe(data, tmp_path / "parts", start, "steps=2")).run()
    again = prepare(tiny_recipe(data, tmp_path / "parts", start))
    again.run()
    assert again.step == 4
    unbroken, resumed = (trainer.objective.plain("separator").state_dict() for trainer in (whole, again))
    before = tiny_network().state_dict()
    for key, value in unbroken.items():
        assert torch.equal(value, resumed[key]), key
        assert torch.equal(value, before[key]) == key.startswith("classifier."), key
    method, _ = load_method(folder)
    image = torch.rand(1, 3, 32, 32)
    network = whole.objective.plain("separator").eval()
    with torch.no_grad():
        for a, b in zip(method(image), network(image)[-1], strict=True):
            assert torch.allclose(a, b, atol=1e-3, rtol=1e-3)


def test_the_loss_falls_on_one_batch(data: Path, tmp_path: Path, start: Path):
    recipe = tiny_recipe(data, tmp_path, start)
    objective = RDNetObjective(recipe.settings, {"data": data})
    batch = objective.collate([objective.samples.draw(0, index) for index in range(2)])
    losses = []
    for step in range(30):
        (turn,) = objective.turns(batch, Moment(step, 0, 30))
        losses.append(turn.loss.item())
        objective.optimizers["separator"].zero_grad()
        turn.loss.backward()
        for group in objective.optimizers["separator"].param_groups:
            group["lr"] = 2e-3
        objective.optimizers["separator"].step()
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_two_rates_fall_together_at_the_milestones(data: Path, tmp_path: Path, start: Path):
    recipe = tiny_recipe(data, tmp_path, start)
    objective = RDNetObjective(recipe.settings, {"data": data})
    backbone, others = objective.optimizers["separator"].param_groups
    assert (backbone["lr"], others["lr"]) == (1e-4, 2e-4)
    assert (backbone["rate_factor"], others["rate_factor"]) == (0.5, 1.0)
    rates = [objective.learning_rate("separator", Moment(0, epoch, 1)) for epoch in (0, 149, 150, 460)]
    assert rates == pytest.approx([2e-4, 2e-4, 1e-4, 2.5e-5])
    trained = {id(p) for group in (backbone, others) for p in group["params"]}
    network = objective.networks["separator"]
    for name, parameter in network.named_parameters():
        assert (id(parameter) in trained) == (not name.startswith("classifier.")), name


def test_samples_are_the_same_for_the_same_number_and_add_up(data: Path, tmp_path: Path, start: Path):
    settings = settings_of(tiny_recipe(data, tmp_path, start))
    samples = training_samples(settings, {"data": data})
    assert len(samples) == 3 + 2 + 2
    seen_above_white = False
    for index in range(40):
        one, same = (samples.draw(1, index) for _ in range(2))
        assert all(torch.equal(one[key], same[key]) for key in one)
        assert one["blended"].shape == (3, 32, 32)
        assert torch.allclose(one["transmission"] + one["reflection"], one["blended"], atol=1e-6)
        seen_above_white |= bool(one["transmission"].max() > 1)
    assert seen_above_white  # the tinted scene is the target and is not clipped


def test_synthesis_draws_stay_in_their_ranges():
    random, ranges = np.random.default_rng(0), rule.Ranges()
    draws = [rule.draw(random) for _ in range(400)]
    for number, (low, high) in enumerate(ranges.gain_bounds):
        gains = [one.gains[number] for one in draws]
        assert low <= min(gains) < max(gains) <= high
        assert abs(np.mean(gains) - ranges.gain_means[number]) < 0.02
    assert abs(np.mean([one.screen for one in draws]) - 0.7) < 0.07
    assert {one.kernel for one in draws} == {5, 7, 9, 11}


def test_recipes_hold_the_criteria_that_are_checked_against_the_published_losses():
    for recipe, name in (("rdnet", "toolbox"), ("rdnet_older", "older")):
        found = settings_of(load_recipe(recipe), classifier="x").criteria
        wanted = NAMED[name]
        for field in vars(wanted):
            assert getattr(found, field) == pytest.approx(getattr(wanted, field)) or getattr(
                found, field
            ) == getattr(wanted, field)


def test_start_files_are_loaded_strictly(data: Path, tmp_path: Path, start: Path):
    network = tiny_network(seed=7)
    torch.save(network.baseball.state_dict(), tmp_path / "focal.pth")
    torch.save({"icnn": network.classifier.state_dict()}, tmp_path / "cls_model.pth")
    files = {
        "start": None,
        "backbone": str(tmp_path / "focal.pth"),
        "classifier": str(tmp_path / "cls_model.pth"),
    }
    recipe = tiny_recipe(data, tmp_path, start)
    fresh = fresh_network(settings_of(recipe, **files))
    for name in ("baseball", "classifier"):
        for key, value in getattr(fresh, name).state_dict().items():
            assert torch.equal(value, getattr(network, name).state_dict()[key])
    small = fresh_network(settings_of(recipe, **files, initialisation="truncated_normal"))
    assert small.subnet1.level2.fusion.down[0].weight.std() < 0.03
    assert not small.decoder_blocks.projback_shit[0].bias.any()
    assert fresh.decoder_blocks.projback_shit[0].bias.any()
    map_prompt = {**recipe.settings["network"], "prompt": "map"}
    assert isinstance(fresh_network(settings_of(recipe, **files, network=map_prompt)), RDNet)
    torch.save({"x": torch.zeros(1)}, tmp_path / "focal.pth")
    with pytest.raises(ModelError, match=r"focal\.pth.*missing: patch_embed.*unexpected: x"):
        fresh_network(settings_of(recipe, **files))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": None}, "settings.classifier: the prompt needs"),
        ({"backbone": "focal.pth"}, "leave backbone and classifier out"),
        ({"criteria": {"columns": [1.0]}}, "give 4 weights"),
        ({"network": {"columns": 0}}, "columns"),
        ({"speed": 1}, "unknown key 'speed'"),
        ({"network": {}}, "is another network"),
    ],
)
def test_wrong_settings_name_the_key_and_the_remedy(
    changes: dict, message: str, data: Path, tmp_path: Path, start: Path
):
    recipe = tiny_recipe(data, tmp_path, start)
    with pytest.raises(RecipeError, match=message):
        fresh_network(settings_of(recipe, **changes))


def test_shares_must_sum_to_one_and_folders_must_be_there(data: Path, tmp_path: Path, start: Path):
    recipe = tiny_recipe(data, tmp_path, start, "settings.data.shares={synthetic: 0.5}")
    with pytest.raises(RecipeError, match="sum to 1"):
        settings_of(recipe)
    settings = settings_of(tiny_recipe(data, tmp_path, start))
    with pytest.raises(RecipeError, match=r"photos: no such folder.*data\.photos=FOLDER"):
        training_samples(settings, {"data": tmp_path})


def test_perceptual_weight_without_vgg_is_not_silently_dropped():
    layers = (torch.rand(1, 3, 16, 16),) * 2
    with pytest.raises(ValueError, match="VGG"):
        Criteria().terms(layers, layers, None)

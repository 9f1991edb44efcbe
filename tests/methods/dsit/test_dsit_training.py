from pathlib import Path

import pytest
import torch
from small_dsit import SMALL, small_dsit

from dereflect.catalog import load_method
from dereflect.errors import DereflectError
from dereflect.methods.dsit.config import DSITConfig, config_from
from dereflect.methods.dsit.objective import DSITObjective, DSITSettings
from dereflect.methods.objective import Moment
from dereflect.methods.residual_criteria import PUBLISHED
from dereflect.methods.residual_samples import training_samples
from dereflect.nn.swin import Swin
from dereflect.training.recipe import Recipe, load_recipe
from residual_training import PERCEPTUAL, assert_resumes_exactly, make_data, tiny

NETWORK = ", ".join(f"{key}: {list(v) if isinstance(v, tuple) else v}" for key, v in vars(SMALL).items())
RECIPES = {
    "dsit": ("32, difference, signed", 5000, (384, 640), 100, 42),
    "dsit_without_nature": ("32, difference, signed", None, (384, 640), 60, 42),
    "dsit_first": ("0, blurred, clipped", None, (384, 768), 50, 2024),
    "dsit_first_nature": ("0, blurred, clipped", 5000, (384, 768), 66, 2024),
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_data(tmp_path / "data")


@pytest.fixture
def recipe(data: Path):
    def make(output: Path, *more: str) -> Recipe:
        network, items = f"settings.network={{{NETWORK}}}", "settings.data.items=null"
        return tiny("dsit", data, output, network, items, "settings.random_prior=true", *more)

    return make


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_hold_the_published_numbers(name: str):
    found = load_recipe(name)
    rules, items, scale, epochs, seed = RECIPES[name]
    settings = DSITSettings.model_validate(found.settings)
    data = settings.data
    assert config_from(settings.network, name) == DSITConfig()
    assert f"{data.align}, {data.synthetic_reflection}, {data.real_reflection}" == rules
    assert (data.items, data.crop, data.scale, data.synthesis.screen_share) == (items, 384, scale, 1)
    assert (found.schedule.epochs, found.schedule.seed, found.schedule.batch_size) == (epochs, seed, 1)
    assert (settings.optimiser.learning_rate, settings.optimiser.betas) == (1e-4, (0.9, 0.999))
    shares = {"synthetic": 0.6, "real": 0.2, "nature": 0.2} if items else {"synthetic": 0.7, "real": 0.3}
    assert data.shares == shares
    assert settings.criteria.perceptual_levels == pytest.approx(PERCEPTUAL)
    plain = {"perceptual_levels": PUBLISHED["dsit"].perceptual_levels}
    assert settings.criteria.model_copy(update=plain) == PUBLISHED["dsit"]


def test_training_resumes_exactly_and_leaves_the_prior_alone(recipe, tmp_path: Path):
    model = assert_resumes_exactly(recipe, tmp_path, frozen="swin_prior.")
    method, _ = load_method(model)
    assert method.config == SMALL
    assert method(torch.rand(1, 3, 32, 32))[0].shape == (1, 3, 32, 32)


def test_the_loss_falls_on_one_batch(recipe, data: Path, tmp_path: Path):
    objective = DSITObjective(recipe(tmp_path).settings, {"data": data})
    batch = objective.collate([objective.samples.draw(0, index) for index in range(2)])
    optimizer, losses = objective.optimizers["separator"], []
    for group in optimizer.param_groups:
        group["lr"] = 2e-3
    for step in range(25):
        (turn,) = objective.turns(batch, Moment(step, 0, 25))
        losses.append(turn.loss.item())
        optimizer.zero_grad()
        turn.loss.backward()
        optimizer.step()
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_training_starts_from_a_whole_network_or_from_a_prior(recipe, data: Path, tmp_path: Path):
    torch.save(small_dsit().state_dict(), tmp_path / "start.pt")
    config = DSITConfig(**{**vars(SMALL), "resolution": 384})  # with windows of 4 the file cannot tell it
    whole = recipe(tmp_path / "a", f"start={tmp_path / 'start.pt'}", "settings.network.resolution=384")
    network = DSITObjective(whole.settings, {"data": data}).networks["separator"]
    assert network.config == config
    assert torch.equal(network.out.seq[0].weight, small_dsit().out.seq[0].weight)

    torch.manual_seed(4)
    prior = Swin(SMALL.swin)
    state = {f"backbone.{key}": value for key, value in prior.state_dict().items()}
    torch.save({"model": state | {"head.weight": torch.zeros(1)}}, tmp_path / "swin.pth")
    started = recipe(tmp_path / "b", f"swin={tmp_path / 'swin.pth'}")
    network = DSITObjective(started.settings, {"data": data}).networks["separator"]
    for key, value in prior.state_dict().items():
        assert torch.equal(network.swin_prior.state_dict()[key], value), key


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("settings.random_prior=false", r"settings\.swin: .*start=CHECKPOINT"),
        ("settings.network.widht=8", r"unknown DSIT setting 'widht'"),
        ("settings.data.shares={synthetic: 0.5}", r"shares.*must sum to 1"),
        ("settings.data.crop=33", r"crop.*multiple of 32"),
        ("settings.data.scale=[16, 40]", r"settings\.data.*crop=32"),
        (
            "settings.data.shares={synthetic: 0.5, nature: 0.5}",
            r"no folder named 'nature'; give data\.nature=FOLDER",
        ),
        ("settings.criteria.gan=1", r"unknown key 'criteria\.gan'"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(
    recipe, data: Path, tmp_path: Path, override: str, fault: str
):
    folders = {"photos": data / "photos"} if "nature" in fault else {"data": data}
    with pytest.raises(DereflectError, match=fault) as caught:
        DSITObjective(recipe(tmp_path, override).settings, folders)
    assert "\n" not in str(caught.value)


def test_samples_depend_on_their_number_alone_and_follow_the_rules(recipe, data: Path, tmp_path: Path):
    found = {}
    for rules in ("difference, signed", "blurred, clipped"):
        synthetic, real = rules.split(", ")
        more = (f"settings.data.synthetic_reflection={synthetic}", f"settings.data.real_reflection={real}")
        settings = DSITSettings.model_validate(recipe(tmp_path, *more).settings)
        samples = training_samples(settings.data, {"data": data}, seed=3)
        assert len(samples) == 3 + 2 + 2
        found[rules] = [samples.draw(1, index) for index in range(30)]
        again = samples.draw(1, 4)
        assert all(torch.equal(again[key], value) for key, value in found[rules][4].items())
    for signed, clipped in zip(*found.values(), strict=True):
        assert torch.equal(signed["blended"], clipped["blended"])
        difference = signed["blended"] - signed["transmission"]
        assert torch.allclose(signed["reflection"], difference, atol=1e-6)
        assert clipped["reflection"].min() >= 0
    assert any(sample["reflection"].min() < 0 for sample in found["difference, signed"])
    assert len({tuple(sample["blended"].flatten()[:5].tolist()) for sample in found["blurred, clipped"]}) > 20

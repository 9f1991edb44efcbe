from pathlib import Path

import pytest
import torch
from small_dsrnet import SMALL

from dereflect.catalog import load_method
from dereflect.methods.dsrnet.config import NAMED, config_from
from dereflect.methods.dsrnet.objective import DSRNetObjective
from dereflect.methods.objective import Moment
from dereflect.methods.residual_criteria import PUBLISHED
from dereflect.methods.residual_settings import Settings
from dereflect.nn.vgg import LAST_CONVOLUTIONS, Vgg19
from dereflect.training.recipe import Recipe, load_recipe
from residual_training import PERCEPTUAL, assert_resumes_exactly, make_data, tiny

NETWORK = ", ".join(
    f"{key}: {list(v) if isinstance(v, tuple) else str(v).lower()}" for key, v in vars(SMALL).items()
)
RECIPES = {
    "dsrnet": ("xreflection", "dsrnet_xreflection", "difference", 4000, 80, 42),
    "dsrnet_l": ("dsrnet_l", "dsrnet", "blurred", None, 50, 2018),
    "dsrnet_l_nature": ("dsrnet_l_nature", "dsrnet", "blurred", 4000, 120, 2018),
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_data(tmp_path / "data")


@pytest.fixture
def recipe(data: Path, tmp_path: Path):
    torch.manual_seed(3)
    torch.save(Vgg19(LAST_CONVOLUTIONS).state_dict(), tmp_path / "vgg.pth")

    def make(output: Path, *more: str) -> Recipe:
        network, items = f"settings.network={{{NETWORK}}}", "settings.data.items=null"
        return tiny("dsrnet", data, output, network, items, f"vgg={tmp_path / 'vgg.pth'}", *more)

    return make


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_hold_the_published_numbers(name: str):
    found = load_recipe(name)
    network, criteria, target, items, epochs, seed = RECIPES[name]
    settings = Settings.model_validate(found.settings)
    data = settings.data
    assert config_from(settings.network, name) == NAMED[network]
    assert (data.align, data.synthetic_reflection, data.real_reflection) == (32, target, "signed")
    assert (data.items, data.crop, data.scale, data.synthesis.screen_share) == (items, 224, (224, 448), 0.7)
    assert (found.schedule.epochs, found.schedule.seed, found.schedule.batch_size) == (epochs, seed, 1)
    assert (settings.optimiser.learning_rate, settings.optimiser.betas) == (1e-4, (0.9, 0.999))
    shares = {"synthetic": 0.6, "real": 0.2, "nature": 0.2} if items else {"synthetic": 0.7, "real": 0.3}
    assert data.shares == shares
    if name == "dsrnet":
        assert list(data.shares) == ["real", "nature", "synthetic"]  # in the order they are offered
    else:
        assert settings.criteria.perceptual_levels == pytest.approx(PERCEPTUAL)
    plain = {"perceptual_levels": PUBLISHED[criteria].perceptual_levels}
    assert settings.criteria.model_copy(update=plain) == PUBLISHED[criteria]
    if name == "dsrnet":
        assert settings.criteria == PUBLISHED[criteria]


def test_training_resumes_exactly_and_exports_its_features(recipe, tmp_path: Path):
    model = assert_resumes_exactly(recipe, tmp_path)
    method, _ = load_method(model)
    assert method.config == SMALL
    assert method(torch.rand(1, 3, 32, 32))[0].shape == (1, 3, 32, 32)


def test_perceptual_term_is_part_of_the_loss(recipe, data: Path, tmp_path: Path):
    objective = DSRNetObjective(
        recipe(tmp_path, "settings.criteria.perceptual=0.01").settings, {"data": data}
    )
    assert objective.vgg.taps == LAST_CONVOLUTIONS
    batch = objective.collate([objective.samples.draw(0, 0)])
    (turn,) = objective.turns(batch, Moment(0, 0, 1))
    parts = {key: float(value) for key, value in turn.logs.items() if key != "total"}
    names = {"pixel_transmission", "pixel_reflection", "perceptual", "exclusion", "reconstruction"}
    assert set(parts) == names
    assert min(parts.values()) > 0
    assert turn.loss.item() == pytest.approx(sum(parts.values()), rel=1e-5)


def test_learning_rate_never_changes_in_the_published_runs(recipe, data: Path, tmp_path: Path):
    objective = DSRNetObjective(recipe(tmp_path).settings, {"data": data})
    assert {objective.learning_rate("separator", Moment(0, epoch, 1)) for epoch in (0, 40, 119)} == {1e-4}

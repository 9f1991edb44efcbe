import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from dereflect import recipes
from dereflect.catalog import load_method
from dereflect.errors import DereflectError, RecipeError
from dereflect.methods.ytmt.config import NAMED
from dereflect.methods.ytmt.objective import YtmtObjective
from dereflect.methods.ytmt.settings import read_settings
from dereflect.training.recipe import load_recipe, parse_recipe
from dereflect.training.trainer import Trainer, prepare

RECIPES = recipes.FOLDER
NAMES = ["ucs", "uas", "uct", "uat", "pas", "pcs", "us_relu", "us_nofi"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Six photos and three real pairs, small and smooth."""
    root = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(5)

    def picture(*folders: str, name: str, width: int = 40, height: int = 36) -> None:
        coarse = Image.fromarray(random.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        target = root.joinpath(*folders)
        target.mkdir(parents=True, exist_ok=True)
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(target / f"{name}.png")

    for number in range(6):
        picture("photos", name=f"p{number}")
    for number in range(3):
        picture("real", "blended", name=f"{number}", width=41)
        picture("real", "transmission_layer", name=f"{number}", width=41)
    return {"photos": str(root / "photos"), "real": str(root / "real")}


def tiny(data: dict[str, str], output: Path, name: str = "ucs", **schedule: object) -> dict:
    """The recipe of `name` with a narrow network, small crops and no VGG-19."""
    content = yaml.safe_load((RECIPES / f"ytmt_{name}.yaml").read_text())
    settings = content["settings"]
    settings["network"] |= {"width": 8, "hypercolumn": False}
    settings["discriminator"]["width"] = 32
    settings["data"] |= {"crop": 32, "scale": [32, 40]}
    for variant in settings["variants"].values():
        criteria = variant["criteria"]
        criteria |= {"perceptual_transmission": 0, "perceptual_reflection": 0}
        if criteria["adversarial_from_epoch"]:
            criteria["adversarial_from_epoch"] = 1
    content["schedule"] = {"steps": 8, "seed": 4, "device": "cpu", "log_every": 1, "workers": 1} | schedule
    return content | {"data": data, "output": str(output)}


def train(content: dict) -> Path:
    return prepare(parse_recipe(content)).run()


def losses(output: Path) -> list[dict[str, float]]:
    lines = (output / "log.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "samples_per_second"} for line in lines]


def reflection_error(trainer: Trainer) -> float:
    """Of the same six samples at any time: what is trained on changes from step to step."""
    objective = trainer.objective
    batch = objective.collate([objective.samples.draw(0, index) for index in range(6)])
    with torch.no_grad():
        found = objective.plain("separator")(batch["blended"])[1]
    return float((found - batch["reflection"]).square().mean())


PERCEPTUAL_LEVELS = pytest.approx([1 / 2.6, 1 / 4.8, 1 / 3.7, 1 / 5.6, 10 / 1.5])

LOSSES = {
    # mse and gradient of T, of R; reconstruction; perceptual T, R; exclusion; adversarial, its first epoch
    ("ucs", "code"): (0.3, 0.6, 0.45, 0.9, 0.2, 0.1, 0.0, 1.0, 0.01, 20),
    ("ucs", "paper"): (0.3, 0.6, 0.9, 0.0, 0.2, 0.1, 0.1, 1.0, 0.01, 0),
    ("uct", "code"): (3.0, 6.0, 3.0, 6.0, 0.0, 0.1, 0.0, 1.0, 0.01, 0),
    ("uct", "paper"): (0.3, 0.6, 0.9, 0.0, 0.2, 0.1, 0.1, 1.0, 0.01, 0),
}
"""Loss weights of the article and of the authors' code, whose stages differ."""


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_recipe_trains_the_network_of_its_name(name: str):
    recipe = load_recipe(f"ytmt_{name}")
    settings = read_settings(recipe.settings)
    assert settings.config == NAMED[name]
    assert set(settings.variants) == {"code", "paper"}
    assert (settings.optimiser.learning_rate, settings.optimiser.betas) == (1e-4, (0.9, 0.999))
    assert (settings.optimiser.weight_decay, settings.data.crop, settings.data.scale) == (0, 224, (224, 448))
    assert (recipe.schedule.batch_size, recipe.schedule.seed) == (1, 2018)


@pytest.mark.parametrize(("name", "variant"), LOSSES)
def test_the_losses_weigh_what_article_and_code_say(name: str, variant: str):
    criteria = read_settings(load_recipe(f"ytmt_{name}").settings).variants[variant].criteria
    found = (
        criteria.transmission_mse,
        criteria.transmission_gradient,
        criteria.reflection_mse,
        criteria.reflection_gradient,
        criteria.reconstruction,
        criteria.perceptual_transmission,
        criteria.perceptual_reflection,
        criteria.exclusion,
        criteria.adversarial,
        criteria.adversarial_from_epoch,
    )
    assert found == LOSSES[name, variant]
    assert list(criteria.perceptual_levels) == PERCEPTUAL_LEVELS


def test_the_rate_of_stage_one_falls_thrice_and_that_of_stage_two_stays():
    one, two = (read_settings(load_recipe(f"ytmt_{name}").settings).variants for name in ("ucs", "uct"))
    assert one["code"].learning_rate_steps == {60: 0.5, 80: 0.2, 100: 0.1}
    assert one["paper"].learning_rate_steps == {60: 0.5, 80: 0.25, 100: 0.125}
    assert two["code"].learning_rate_steps == {}
    assert load_recipe("ytmt_ucs").schedule.epochs == 120


@pytest.mark.parametrize("name", ["ucs", "pas"])
@pytest.mark.parametrize("variant", ["code", "paper"])
def test_training_lowers_the_reflection_s_error_and_exports_a_model(
    name: str, variant: str, data: dict[str, str], tmp_path: Path
):
    content = tiny(data, tmp_path / "run", name, steps=12)
    content["settings"]["variant"] = variant
    content["settings"]["optimiser"]["learning_rate"] = 2e-3
    trainer = prepare(parse_recipe(content))
    before = reflection_error(trainer)
    folder = trainer.run()
    assert reflection_error(trainer) < 0.95 * before
    records = losses(tmp_path / "run")
    assert ("discriminator" in records[0]) == (variant == "paper")  # the code starts its adversary later
    assert "discriminator" in records[-1]
    method, _ = load_method(folder)
    assert method(torch.rand(1, 3, 32, 32))[0].shape == (1, 3, 32, 32)


@pytest.mark.parametrize("stop", [3, 9])
def test_a_stopped_run_continues_with_the_losses_of_an_unbroken_one(
    stop: int, data: dict[str, str], tmp_path: Path
):
    train(tiny(data, tmp_path / "whole", steps=12))
    train(tiny(data, tmp_path / "parts", steps=stop))
    train(tiny(data, tmp_path / "parts", steps=12))
    whole, parts = losses(tmp_path / "whole"), losses(tmp_path / "parts")
    assert [record["step"] for record in parts] == list(range(1, 13))
    for one, other in zip(whole, parts, strict=True):
        # The log holds six decimals: rounding alone can part two equal losses by one in the last.
        assert other == pytest.approx(one, abs=2e-6)


def test_stage_two_starts_from_stage_one_and_trains_only_itself(data: dict[str, str], tmp_path: Path):
    train(tiny(data, tmp_path / "one", steps=10))
    content = tiny(data, tmp_path / "two", "uct", steps=3)
    content["settings"]["stage_one"] = str(tmp_path / "one")
    recipe = parse_recipe(content)
    objective = YtmtObjective(recipe.settings, {k: Path(v) for k, v in data.items()})

    first = torch.load(tmp_path / "one/checkpoints/step-00000010/state.pt", weights_only=True)
    for key, value in first["networks"]["separator"].items():
        assert torch.equal(objective.networks["separator"].state_dict()[key], value)
    ours, theirs = objective.optimizers["separator"].state_dict(), first["optimizers"]["separator"]
    assert ours["state"].keys() == theirs["state"].keys()
    for index, state in theirs["state"].items():
        assert torch.equal(ours["state"][index]["exp_avg_sq"], state["exp_avg_sq"])

    Trainer(recipe, objective).run()
    method, _ = load_method(tmp_path / "two/model")
    assert method.config.stages == 2
    stage1, stage2 = method.system.stage1.state_dict(), method.system.stage2.state_dict()
    assert all(torch.equal(stage1[key], value) for key, value in first["networks"]["separator"].items())
    assert any(not torch.equal(stage1[key], stage2[key]) for key in stage1)
    assert "reconstruction" not in losses(tmp_path / "two")[0]

    content["settings"]["stage_one"] = str(tmp_path / "one/model")  # no optimizer's state in a model folder
    fresh = YtmtObjective(content["settings"], {k: Path(v) for k, v in data.items()})
    assert not fresh.optimizers["separator"].state_dict()["state"]


def test_learning_rate_steps_are_factors_of_the_initial_rate(data: dict[str, str], tmp_path: Path):
    from dereflect.methods.objective import Moment

    objective = YtmtObjective(tiny(data, tmp_path)["settings"], {k: Path(v) for k, v in data.items()})
    rates = [
        objective.learning_rate("separator", Moment(0, epoch, 1)) for epoch in (0, 59, 60, 79, 80, 100, 119)
    ]
    assert rates == pytest.approx([1e-4, 1e-4, 5e-5, 5e-5, 2e-5, 1e-5, 1e-5])
    assert objective.learning_rate("discriminator", Moment(0, 100, 1)) is None


def edited(path: str, value: object):
    def edit(content: dict) -> None:
        *parts, last = path.split(".")
        place = content
        for part in parts:
            place = place[part]
        place[last] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (edited("settings.varaint", "code"), "unknown key 'varaint'"),
        (edited("settings.variants.code.criteria.exclusion", "much"), "exclusion"),
        (edited("settings.variant", "thesis"), "variant"),
        (edited("settings.network.widht", 8), "unknown YTMT setting 'widht'"),
        (edited("settings.network.width", "8"), "width must be of type int"),
        (edited("settings.network.width", 9), "multiple of 8"),
        (edited("settings.stage", 2), "settings.stage_one=FOLDER"),
        (edited("settings.stage_one", "x"), "settings.stage is 1"),
        (edited("settings.data.crop", 8), "needs at least 16"),
        (edited("settings.data.scale", [8, 16]), "crop=32"),
        (edited("data.photos", "/nowhere/photos"), "/nowhere/photos"),
        (edited("data", {"real": "/"}), "data.photos=FOLDER"),
        (edited("schedule.batch_size", 50), "batch_size: a step takes 50 samples"),
        (edited("settings.vgg", "/nowhere/vgg.pth"), "/nowhere/vgg.pth"),
    ],
)
def test_a_wrong_recipe_is_refused_before_any_work(edit, fault: str, data: dict[str, str], tmp_path: Path):
    content = tiny(copy.deepcopy(data), tmp_path / "run")
    edit(content)
    if fault.endswith("vgg.pth"):
        content["settings"]["variants"]["code"]["criteria"]["perceptual_transmission"] = 0.1
    with pytest.raises(DereflectError) as raised:
        train(content)
    assert fault in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run/log.jsonl").exists()


@pytest.mark.parametrize("kind", ["absent", "other network"])
def test_stage_two_refuses_what_is_no_result_of_its_stage_one(
    kind: str, data: dict[str, str], tmp_path: Path
):
    content = tiny(data, tmp_path / "two", "uct")
    content["settings"]["stage_one"] = str(tmp_path / "one")
    if kind == "other network":
        train(tiny(data, tmp_path / "one", "uas", steps=1))
    with pytest.raises(RecipeError, match=r"settings\.stage_one=.*one: "):
        train(content)


WORKER = """
import sys, yaml, torch
torch.set_num_threads(1)
from dereflect.training.recipe import parse_recipe
from dereflect.training.trainer import prepare
prepare(parse_recipe(yaml.safe_load(open(sys.argv[1])))).run()
"""


@pytest.mark.slow
def test_two_processes_train_as_one_that_accumulates(data: dict[str, str], tmp_path: Path):
    (tmp_path / "worker.py").write_text(WORKER)
    for name, accumulate, launch in (
        ("one", 2, [sys.executable]),
        (
            "two",
            1,
            [
                sys.executable,
                "-m",
                "torch.distributed.run",
                "--nproc_per_node",
                "2",
                "--master_port",
                "29713",
            ],
        ),
    ):
        content = tiny(data, tmp_path / name, steps=6, accumulate=accumulate)
        content["settings"]["variant"] = "paper"  # its adversary plays from the start
        recipe = tmp_path / f"{name}.yaml"
        recipe.write_text(yaml.safe_dump(content))
        environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
        done = subprocess.run(
            [*launch, str(tmp_path / "worker.py"), str(recipe)],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (
        torch.load(tmp_path / name / "checkpoints/step-00000006/state.pt", weights_only=True)["networks"]
        for name in ("one", "two")
    )
    for network in ("separator", "discriminator"):
        for key, value in one[network].items():
            torch.testing.assert_close(two[network][key], value, atol=5e-5, rtol=0)


def test_both_stages_train_on_hypercolumns_with_the_perceptual_loss(data: dict[str, str], tmp_path: Path):
    from dereflect.nn.vgg import Vgg19

    torch.manual_seed(0)
    torch.save(Vgg19().state_dict(), tmp_path / "vgg.pth")
    for name in ("ucs", "uct"):
        content = tiny(data, tmp_path / name, name, steps=2)
        original = yaml.safe_load((RECIPES / f"ytmt_{name}.yaml").read_text())["settings"]
        content["settings"]["network"] = original["network"] | {"width": 8}
        content["settings"]["variants"] = original["variants"]
        content["settings"]["vgg"] = str(tmp_path / "vgg.pth")
        if name == "uct":
            content["settings"]["stage_one"] = str(tmp_path / "ucs")
        method, _ = load_method(train(content))  # the folder brings its VGG-19 along
        assert method.config.hypercolumn
        record = losses(tmp_path / name)[-1]
        assert record["perceptual_transmission"] > 0
        assert ("adversarial" in record) == (name == "uct")
        transmission, _ = method(torch.rand(1, 3, 20, 33))
        assert torch.isfinite(transmission).all()

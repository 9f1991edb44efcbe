from pathlib import Path

import pytest
from typer.testing import CliRunner

from dereflect import recipes
from dereflect.cli import app
from dereflect.errors import RecipeError
from dereflect.methods.default.network import DefaultConfig
from dereflect.methods.default.settings import read_settings
from dereflect.training.recipe import folders, load_recipe, objective_class

RECIPES = recipes.FOLDER
NOTES = Path(__file__).parents[2] / "docs" / "notes"
AS_RUN = [NOTES / "long_run.yaml", NOTES / "trials.yaml"]


@pytest.mark.parametrize("path", [*sorted(RECIPES.glob("*.yaml")), *AS_RUN], ids=lambda path: path.stem)
def test_every_recipe_is_valid(path: Path) -> None:
    assert load_recipe(path).schedule.batch_size >= 1


@pytest.mark.parametrize(("path", "encoder"), [(AS_RUN[0], "lite2"), (AS_RUN[1], "open_nsfw")])
def test_settings_and_network_of_recipes_in_the_notes_are_known(path: Path, encoder: str) -> None:
    settings = read_settings(load_recipe(path).settings)
    assert DefaultConfig(**settings.network).encoder == encoder


def test_overrides_reach_top_schedule_settings_and_nested_keys() -> None:
    recipe = load_recipe("default", ["data=elsewhere", "steps=5", "crop=64", "settings.glass.identity=0.5"])
    assert recipe.data == "elsewhere"
    assert recipe.schedule.steps == 5
    assert recipe.settings["crop"] == 64
    assert recipe.settings["glass"]["identity"] == 0.5


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["schedule.stepz=5"], "unknown key 'schedule.stepz'"),
        (["steps=many"], "schedule.steps: .*got 'many'"),
        (["epochs=3"], "either steps or epochs"),
        (["objective=nothing"], "objective 'nothing' is unknown; one of"),
        (["crop"], "crop: an override is written key=value"),
    ],
)
def test_a_wrong_recipe_names_the_key_and_the_remedy(overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("default", overrides)


def test_a_missing_data_folder_is_named() -> None:
    with pytest.raises(RecipeError, match=r"nowhere: no such folder \(data 'data'\); give data=FOLDER"):
        folders(load_recipe("default", ["data=nowhere"]))


def test_a_folder_by_name_stands_beside_the_one_for_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs").mkdir()
    overrides = ["data.real=pairs"]
    assert folders(load_recipe("dsit", overrides)) == {"real": Path("pairs")}
    (tmp_path / "data").mkdir()
    assert folders(load_recipe("dsit", overrides)) == {"data": Path("data"), "real": Path("pairs")}
    assert folders(load_recipe("dsit", ["data=pairs", *overrides])) == dict.fromkeys(
        ("data", "real"), Path("pairs")
    )
    with pytest.raises(RecipeError, match=r"nowhere: no such folder \(data 'real'\); give data\.real=FOLDER"):
        folders(load_recipe("dsit", ["data.real=nowhere"]))


@pytest.mark.parametrize("name", ["default", "diffrs_unet", "diffrs_synthesis", "diffrs_fgfm"])
def test_a_training_on_one_folder_refuses_others(name, tmp_path):
    recipe = load_recipe(name, [f"data={tmp_path}", f"data.photos={tmp_path}"])
    settings = recipe.settings | {"model": str(tmp_path), "perceptual": 0}
    if name != "diffrs_fgfm":
        settings.pop("perceptual")
    if name == "default":
        settings.pop("model")
    with pytest.raises(RecipeError, match=r"data\.photos: this training takes one folder that holds all"):
        objective_class(recipe.objective)(settings, folders(recipe))


def test_a_recipe_is_found_by_name_from_anywhere_and_a_file_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_recipe("ytmt_uct").output == "runs/ytmt_uct"
    (tmp_path / "mine.yaml").write_text((recipes.FOLDER / "default.yaml").read_text())
    assert load_recipe("mine.yaml").objective == "default"
    (tmp_path / "dmdnet").write_text((recipes.FOLDER / "default.yaml").read_text())
    assert load_recipe("dmdnet").objective == "default"


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(RecipeError, match=r"ytmt_ucd: no such file, and no recipe.*did you mean ytmt_uc"):
        load_recipe("ytmt_ucd")
    with pytest.raises(RecipeError, match=r"elsewhere/default\.yaml: no such file"):
        load_recipe("elsewhere/default.yaml")


def test_the_path_that_recipes_had_in_a_clone_still_works_and_warns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.warns(DeprecationWarning, match="found by its name, 'default'"):
        assert load_recipe("recipes/default.yaml").objective == "default"


def test_train_alone_lists_the_recipes():
    done = CliRunner().invoke(app, ["train"])
    assert done.exit_code == 0
    listed = [line.partition(" ")[0] for line in done.output.splitlines()]
    assert set(recipes.names()) <= set(listed)
    assert "YTMT UCS (Hu & Guo, NeurIPS 2021): U-shaped, concatenating exchange, one stage" in done.output


def test_ablations_are_found_by_name():
    assert recipes.names("ablations") == ["diffrs", "diffrs_w", "dmdnet", "ytmt"]
    assert recipes.find("dmdnet", "ablations") != recipes.find("dmdnet")

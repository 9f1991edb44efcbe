from pathlib import Path

import pytest

from dereflect import recipes
from dereflect.errors import RecipeError
from dereflect.training.recipe import folders, load_recipe

RECIPES = recipes.FOLDER


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_is_valid(path: Path) -> None:
    assert load_recipe(path).schedule.batch_size >= 1


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
    with pytest.raises(RecipeError, match=r"data folder nowhere \(data\) does not exist; give data=FOLDER"):
        folders(load_recipe("default", ["data=nowhere"]))

"""Recipes: every number of a training as data, validated when it is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import Field, ValidationError

from dereflect import recipes
from dereflect.catalog import families
from dereflect.errors import RecipeError, first_line
from dereflect.strict import Strict, first_fault, nearest

if TYPE_CHECKING:
    from dereflect.methods.objective import Objective


class Schedule(Strict):
    """Settings of the training loop itself, the same for every method."""

    steps: int | None = Field(None, gt=0, description="optimizer steps of the whole run (or give epochs)")
    epochs: int | None = Field(
        None, gt=0, description="passes over the data of the whole run (or give steps)"
    )
    batch_size: int = Field(1, gt=0, description="samples a process and forward pass")
    accumulate: int = Field(1, gt=0, description="forward passes an optimizer step")
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    channels_last: bool = True
    compile: bool = Field(
        False,
        description="compile the networks with Inductor (worth it on a GPU); "
        "not done where that fails or gradients come out wrong",
    )
    clip_norm: float | None = Field(
        None, gt=0, description="gradient norm above which gradients are scaled down"
    )
    ema: float | None = Field(None, gt=0, lt=1, description="decay of the moving average of weights")
    seed: int = 0
    workers: int = Field(2, ge=0, description="threads that draw samples ahead")
    device: str = "auto"
    log_every: int = Field(20, gt=0, description="steps between log lines")
    checkpoint_minutes: float = Field(10, gt=0, description="minutes between checkpoints")
    keep_checkpoints: int = Field(2, gt=0)
    validate_minutes: float = Field(
        0, ge=0, description="minutes between validations, made at checkpoints; 0: at every one"
    )
    stop_minutes: float | None = Field(None, gt=0, description="stop after this long, with a checkpoint")
    resume: Literal["auto", "never"] | str = Field("auto", description="auto, never, or a checkpoint folder")


class Recipe(Strict):
    """A whole recipe: which objective, its settings, its data, and the loop's schedule."""

    objective: str
    output: str = Field("runs/run", description="folder of checkpoints, log and exported model")
    data: str | dict[str, str] = Field(description="data folder, or named folders")
    settings: dict[str, Any] = Field(default_factory=dict, description="validated by the objective")
    schedule: Schedule


def load_recipe(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, by its name or from a YAML file, and apply overrides.

    An override is ``key.sub=value``, the value YAML. A key without a dot is looked for at the top, then in
    `schedule`, then in `settings`.

    Raises:
        RecipeError: the file, a key or a value is wrong; names the first offender and the remedy.
    """
    path = recipes.find(source)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(path, f"not valid YAML ({first_line(error)})") from error
    if not isinstance(content, dict):
        raise RecipeError(path, "a recipe is a mapping of keys to values")
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise RecipeError(override, "an override is written key=value")
        try:
            _put(content, key.strip(), yaml.safe_load(value))
        except yaml.YAMLError as error:
            raise RecipeError(override, "the value is not valid YAML") from error
    return parse_recipe(content, str(path))


def parse_recipe(content: Mapping[str, Any], source: str = "recipe") -> Recipe:
    """Validate a recipe given as a mapping."""
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(source, first_fault(error)) from error
    if recipe.objective not in (known := objectives()):
        hint = nearest(recipe.objective, known)
        raise RecipeError(source, f"objective '{recipe.objective}' is unknown; {hint}")
    schedule = recipe.schedule
    if (schedule.steps is None) == (schedule.epochs is None):
        raise RecipeError(source, "schedule needs either steps or epochs")
    return recipe


def folders(recipe: Recipe) -> dict[str, Path]:
    """The data folders by name. The one for all data is named ``data``; beside others it may be absent.

    Raises:
        RecipeError: a folder does not exist.
    """
    named = {"data": recipe.data} if isinstance(recipe.data, str) else recipe.data
    result = {}
    for name, text in named.items():
        folder = Path(text).expanduser()
        if not folder.is_dir():
            if name == "data" and len(named) > 1:
                continue
            key = "data" if name == "data" else f"data.{name}"
            raise RecipeError(folder, f"no such folder (data '{name}'); give {key}=FOLDER")
        result[name] = folder
    return result


def objectives() -> list[str]:
    """Names of everything that can be trained."""
    return [name for family in families() for name in family.objectives]


def objective_class(name: str) -> type[Objective]:
    """Import the class of an objective by its name.

    Raises:
        RecipeError: there is none of that name.
    """
    for family in families():
        if name in family.objectives:
            return family.objective(name)
    raise RecipeError(f"objective '{name}'", f"unknown; {nearest(name, objectives())}")


def _put(content: dict[str, Any], key: str, value: Any) -> None:
    parts = key.split(".")
    if len(parts) == 1 and key not in Recipe.model_fields:
        parts = ["schedule" if key in Schedule.model_fields else "settings", key]
    if parts[0] == "data" and len(parts) > 1 and isinstance(content.get("data"), str):
        content["data"] = {"data": content["data"]}  # what has no folder of its own is still looked for there
    place = content
    for part in parts[:-1]:
        nested = place.setdefault(part, {})
        if not isinstance(nested, dict):
            raise RecipeError(f"override {key}", f"'{part}' is a value, not a group of keys")
        place = nested
    place[parts[-1]] = value

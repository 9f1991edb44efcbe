"""`dereflect train`: run a recipe."""

from __future__ import annotations

from typing import Annotated

import typer


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="RECIPE", help="A name, e.g. default, or a YAML file; none lists the names."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="Changes to the recipe, e.g. data=photos steps=1000 settings.crop=256.",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only validate the recipe, its data and its weights.")
    ] = False,
) -> None:
    """Train a method from a recipe; an interrupted run goes on where its last checkpoint stopped.

    The output folder gets checkpoints/, log.jsonl, recipe.json, TensorBoard files where tensorboard is
    installed, and model/, which `dereflect separate --model` loads.
    """
    if recipe is None:
        _list_recipes()
        return
    from dereflect.training.recipe import load_recipe

    settings = load_recipe(recipe, overrides or [])
    from dereflect.training.trainer import prepare

    trainer = prepare(settings)
    if check:
        typer.echo(f"{recipe}: fine; {trainer.total_steps} steps of {trainer.samples_per_step} samples")
        return
    chief = trainer.accelerator.is_main_process  # of several processes one speaks
    if chief:
        place, steps = trainer.accelerator.device, trainer.total_steps
        typer.echo(f"training on {place}, {steps} steps, into {trainer.folder}", err=True)
    model = trainer.run()
    if chief:
        typer.echo(str(model))


def _list_recipes() -> None:
    from dereflect import recipes

    for name in recipes.names():
        typer.echo(f"{name:18} {recipes.summary(recipes.find(name))}")
    typer.echo(f"\ntheir files are in {recipes.FOLDER}; run one by  dereflect train NAME data=FOLDER")

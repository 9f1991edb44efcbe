"""`dereflect train`: run a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE", help="A YAML recipe, e.g. recipes/default.yaml.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
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
    from dereflect.training.recipe import load_recipe

    settings = load_recipe(recipe, overrides or [])
    from dereflect.training.trainer import prepare

    trainer = prepare(settings)
    if check:
        typer.echo(f"{recipe}: fine; {trainer.total_steps} steps of {trainer.samples_per_step} samples")
        return
    typer.echo(
        f"training on {trainer.accelerator.device}, {trainer.total_steps} steps, into {trainer.folder}",
        err=True,
    )
    typer.echo(str(trainer.run()))

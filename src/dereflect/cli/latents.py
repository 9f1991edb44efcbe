"""`dereflect latents`: make the generated latents that a fusion training needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def latents(
    recipe: Annotated[
        Path,
        typer.Argument(metavar="RECIPE", help="The recipe to train with, e.g. recipes/diffrs_fgfm.yaml."),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the recipe, as for train."),
    ] = None,
) -> None:
    """Store what the fine-tuned sampler makes of training crops; an interrupted run goes on where it stopped.

    They go into the recipe's data folder, under settings.latents.
    """
    from dereflect.errors import RecipeError
    from dereflect.training.recipe import folders, load_recipe

    read = load_recipe(recipe, overrides or [])
    if read.objective != "diffrs-fgfm":
        raise RecipeError(f"{recipe}: objective '{read.objective}' trains on no latents; give diffrs-fgfm")
    from dereflect.devices import choose_device
    from dereflect.methods.diffrs.fgfm import make_latents

    def show(done: int, total: int) -> None:
        typer.echo(f"{done} of {total}", err=True)

    device, _ = choose_device(read.schedule.device)
    settings = dict(read.settings) | {"seed": read.schedule.seed}
    typer.echo(str(make_latents(settings, folders(read), device, show)))

"""Verbs that methods bring along (`Family.verbs`, `Family.preparations`), attached to the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from dereflect.catalog import families
from dereflect.methods.family import Family, Preparation

PANEL = "Verbs of single methods"


def attach(app: typer.Typer) -> None:
    """Add every family's own verbs to `app`."""
    for family in families():
        for name, reference in family.verbs.items():
            app.command(name, rich_help_panel=PANEL)(family.resolve(reference))
        for name, preparation in family.preparations.items():
            verb = _verb(family, name, preparation)
            app.command(name, help=preparation.help, rich_help_panel=PANEL)(verb)


def _verb(family: Family, name: str, preparation: Preparation) -> Callable[..., None]:
    """A verb that reads a recipe and makes what its training needs."""

    def prepare(
        recipe: Annotated[
            str, typer.Argument(metavar="RECIPE", help="The recipe to train with: a name or a YAML file.")
        ],
        overrides: Annotated[
            list[str] | None,
            typer.Argument(metavar="KEY=VALUE", help="Changes to the recipe, as for train."),
        ] = None,
    ) -> None:
        from dereflect.devices import choose_device
        from dereflect.errors import RecipeError
        from dereflect.training.recipe import folders, load_recipe

        read = load_recipe(recipe, overrides or [])
        if read.objective != preparation.objective:
            raise RecipeError(
                recipe, f"{name} prepares trainings of {preparation.objective}, not of {read.objective}"
            )
        device, _ = choose_device(read.schedule.device)
        settings = dict(read.settings) | {"seed": read.schedule.seed}
        made = family.resolve(preparation.run)(
            settings, folders(read), device, lambda done, total: typer.echo(f"{done} of {total}", err=True)
        )
        typer.echo(str(made))

    return prepare

"""`dereflect integrations`: what lets editors and file managers run dereflect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dereflect.cli.options import OverwriteOption
from dereflect.errors import InputError

app = typer.Typer(
    help="Install what lets photo editors and file managers run dereflect.", invoke_without_command=True
)


@app.callback()
def integrations(context: typer.Context) -> None:
    """List the editors that dereflect can be used from."""
    if context.invoked_subcommand is not None:
        return
    from dereflect.editors.install import INTEGRATIONS

    for name, integration in INTEGRATIONS.items():
        typer.echo(f"{name}: {integration.summary}")


@app.command()
def install(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name from `dereflect integrations`.")],
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="The editor's folder, where it is not the usual one."),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Install an integration for this user; it will run the dereflect command that installed it.

    Nothing is overwritten without --overwrite.
    """
    from dereflect.editors.install import INTEGRATIONS
    from dereflect.editors.install import install as install_to

    if name not in INTEGRATIONS:
        raise InputError(name, f"no such integration; there are {', '.join(INTEGRATIONS)}")
    integration = INTEGRATIONS[name]
    if to is not None:
        integration.check(to.absolute())
    for folder in [to] if to is not None else integration.places():
        for line in install_to(integration, folder, overwrite):
            typer.echo(line)

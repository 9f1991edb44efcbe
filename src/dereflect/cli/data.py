"""`dereflect data`: which data sets are known, and what a folder holds of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Data sets of the field: list them, check a folder.", invoke_without_command=True)


@app.callback()
def data(context: typer.Context) -> None:
    """List the data sets that are recognised by their folder's name."""
    if context.invoked_subcommand is not None:
        return
    from dereflect.data.known_sets import LAYOUTS

    for layout in LAYOUTS.values():
        truth = {"T": "true transmission", "T R": "true transmission and reflection", "": "no truth"}
        typer.echo(f"{layout.name}: {layout.title}")
        typer.echo(f"  holds    {layout.pictures} pictures, {truth[layout.layers]}")
        typer.echo(
            f"  folder   named like {', '.join(layout.aliases[:4])} (case, spaces, - and _ do not matter)"
        )
        typer.echo(f"  offered  {layout.offered}")
        for fault in layout.faults:
            typer.echo(f"  note     {fault}")
    typer.echo("any other folder with blended and transmission_layer (and reflection_layer) in it works too")


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A data set, or a folder of data sets.")],
) -> None:
    """Tell which data sets a folder holds, what is wrong with them, and which known ones are not there."""
    from dereflect.data.known_sets import LAYOUTS
    from dereflect.data.layouts import check_folder, recognise
    from dereflect.errors import InputError

    found = check_folder(folder)
    for item in found.usable:
        layers = "T and R" if all(pair.reflection for pair in item.pairs) else "T"
        known = f"{item.name} ({item.layout.title})" if item.layout else f"{item.name} (plain folders)"
        typer.echo(f"{item.folder}: {known}, {len(item.pairs)} pictures with true {layers}")
        for note in item.notes:
            typer.echo(f"  note     {note}")
    for path, layout, count in found.to_look_at:
        typer.echo(
            f"{path}: {layout.name} ({layout.title}), {count} of {layout.pictures} pictures to look at"
        )
    for fault in found.faults:
        typer.echo(f"fault: {fault}")
    there = {item.name for item in found.usable} | {layout.name for _, layout, _ in found.to_look_at}
    if recognise(folder) is None:  # a folder of sets: say what else there could be
        for name in [name for name in LAYOUTS if name not in there]:
            typer.echo(f"not there: {name}, offered by {LAYOUTS[name].offered}")
    if found.faults:
        raise InputError(folder, f"{len(found.usable)} data sets usable, {len(found.faults)} with faults")

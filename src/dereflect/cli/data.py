"""`dereflect data`: the known data sets, what a folder holds of them, an archive of them to fetch."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Data sets of the field: list them, check a folder, fetch.", invoke_without_command=True
)


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


class ArchiveChoice(StrEnum):
    """Archives that can be fetched."""

    sirs = "sirs"


@app.command()
def download(
    name: Annotated[ArchiveChoice, typer.Argument(metavar="NAME", help="sirs, the one archive known.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="A new folder for the sets.")
    ] = Path("sirs"),
    yes: Annotated[bool, typer.Option("--yes", help="Agree to what is fetched, and to its terms.")] = False,
    archive: Annotated[
        Path | None,
        typer.Option("--archive", metavar="FILE", help="The archive, where it is on this machine already."),
    ] = None,
) -> None:
    """Fetch the XReflection toolbox's training and test sets: VOC crops, real, nature and SIR2.

    Says what would be fetched, from where and on whose terms, and does it with --yes, going on where it was
    cut. Recipes take FOLDER/train (photos, real, nature), `dereflect evaluate` takes FOLDER/test.
    """
    from dereflect.data.sirs import download_sirs
    from dereflect.downloads import show_progress
    from dereflect.weights import cache_folder

    lines = download_sirs(
        output,
        cache_folder(),
        yes,
        lambda words: typer.echo(words, err=True),
        show_progress(),
        archive=archive,
    )
    for line in lines or ["no set was recognised"]:
        typer.echo(f"{output}/{line}" if lines else line)
    if (output / "other").is_dir():
        typer.echo(f"{output}/other: the rest of the archive, as it was")

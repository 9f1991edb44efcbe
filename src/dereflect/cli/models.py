"""`dereflect models`: what can be loaded, and conversion of foreign checkpoints."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from dereflect.cli.options import OverwriteOption, SetOption, parse_settings
from dereflect.errors import InputError

app = typer.Typer(help="List, and convert, the models that can be loaded.", invoke_without_command=True)


@app.callback()
def models(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON a model.")] = False,
) -> None:
    """List the models that can be loaded, with size, licence, speed and measured quality."""
    if context.invoked_subcommand is not None:
        return
    from dereflect.catalog import CARDS

    for card in CARDS.values():
        if as_json:
            typer.echo(json.dumps(asdict(card), ensure_ascii=False))
            continue
        typer.echo(f"{card.name}: {card.summary}")
        size = f"{card.megabytes:.0f} MB, " if card.megabytes else ""
        for title, text in (
            ("paper", card.paper),
            ("weights", size + card.weights),
            ("licence", card.licence),
            ("speed", card.speed or "not measured here"),
            ("quality", card.quality or "not measured here"),
        ):
            if text:
                typer.echo(f"  {title:8} {text}")


@app.command()
def convert(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="A checkpoint file of any known method, or a model folder."),
    ],
    folder: Annotated[Path, typer.Argument(help="Folder to write config.json and model.safetensors to.")],
    settings: SetOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Read a checkpoint, never running code in it, and write it as config.json + model.safetensors."""
    from dereflect.catalog import load_method

    if (folder / "config.json").exists() and not overwrite:
        raise InputError(f"{folder}: holds a model already; --overwrite replaces it")
    method, _ = load_method(source, parse_settings(settings))
    try:
        method.save_pretrained(folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from error
    parameters = sum(parameter.numel() for parameter in method.parameters())
    typer.echo(
        f"{folder}: {method.family}, {parameters / 1e6:.1f} M parameters; use it with --model {folder}"
    )


@app.command()
def download(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name from `dereflect models`.")],
    yes: Annotated[bool, typer.Option("--yes", help="Agree to what is fetched, and to its licence.")] = False,
    settings: SetOption = None,
) -> None:
    """Fetch a model's published weights, resuming where it was cut, and convert them once.

    Says what would be fetched, from where and under which licence, and does it with --yes. Parts that are on
    this machine already are taken from --set PART=FOLDER.
    """
    from dereflect.catalog import CARDS, family
    from dereflect.downloads import show_progress
    from dereflect.errors import ModelError

    card = CARDS.get(name)
    if card is None:
        raise ModelError(f"no model named '{name}'; one of {', '.join(CARDS)}")
    fetch = getattr(family(card.family), "download", None)
    if fetch is None:
        raise ModelError(f"{name}: there is nothing to download; its weights: {card.weights}")
    folder = fetch(yes, parse_settings(settings), lambda words: typer.echo(words, err=True), show_progress())
    typer.echo(f"{folder}: use it with --model {name}")

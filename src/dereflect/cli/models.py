"""`dereflect models`: what can be loaded, its settings, downloads, and conversion of foreign checkpoints."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dereflect.cli.options import OverwriteOption, SetOption, parse_settings
from dereflect.errors import OVERWRITE, InputError, ModelError, first_line

if TYPE_CHECKING:
    from dereflect.methods.card import ModelCard

_MODEL_FILES = ("config.json", "model.safetensors", "model_index.json")
"""Files in a model folder, some of which every method writes."""

app = typer.Typer(
    help="List, show, fetch and convert the models that can be loaded.", invoke_without_command=True
)


@app.callback()
def models(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON a model.")] = False,
) -> None:
    """List the models that can be loaded, best first: published quality, size, cost, licence.

    `dereflect models show NAME` tells everything of one. The order is that of --model best: by PSNR on the
    field's test photos, then on Real20, then the others.
    """
    if context.invoked_subcommand is not None:
        return
    from dereflect.catalog import CARDS, family
    from dereflect.cli.model_table import table
    from dereflect.methods.ranking import by_quality

    cards = by_quality(CARDS.values())
    if as_json:
        for card in cards:
            typer.echo(json.dumps(asdict(card), ensure_ascii=False))
        return
    typer.echo("\n".join(table(cards, lambda card: family(card.family).is_here(card.name))))


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name from `dereflect models`.")],
) -> None:
    """Show one model's card, and every setting that --set takes: type, default and meaning."""
    from dereflect.catalog import family
    from dereflect.methods.options import describe

    card = _card(name)
    typer.echo("\n".join(_lines(card)))
    rows = describe(family(card.family).options_class())
    typer.echo("\nsettings (--set NAME=VALUE)" if rows else "\nno settings")
    for key, kind, default, meaning in rows:
        typer.echo(f"  {key} ({kind}{', default ' + default if default else ''})\n      {meaning}")


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

    there = [name for name in _MODEL_FILES if os.path.lexists(folder / name)]
    if there and not overwrite:
        raise InputError(folder, f"holds a model already ({there[0]})", remedy=OVERWRITE)
    method, _ = load_method(source, parse_settings(settings))
    try:
        method.save_pretrained(folder)
    except OSError as error:
        raise InputError(folder, f"cannot be written ({first_line(error)})") from error
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
    this machine already are taken from --set PART=PATH.
    """
    from dereflect.catalog import family
    from dereflect.downloads import show_progress

    card = _card(name)
    place = family(card.family).fetch(
        name, yes, parse_settings(settings), lambda words: typer.echo(words, err=True), show_progress()
    )
    typer.echo(f"{place}: use it with --model {name}")


def _card(name: str) -> ModelCard:
    from dereflect.catalog import CARDS
    from dereflect.strict import nearest

    if name not in CARDS:
        raise ModelError(name, f"no model of this name; {nearest(name, CARDS)}")
    return CARDS[name]


def _lines(card: ModelCard) -> list[str]:
    """A card in words, one fact a line; facts that are not known are left out, unless one must know that."""
    size = f"{card.megabytes:.0f} MB, " if card.megabytes else ""
    facts = [
        ("paper", card.paper),
        ("weights", size + card.weights),
        ("licence", card.licence),
        ("code", card.code),
        ("trained on", card.trained_on),
        ("speed", card.speed or ("" if card.cost else "not measured here")),
        ("quality", card.quality or "not measured here"),
    ]
    if card.cost is not None:
        cost = card.cost
        facts += [("cost", f"{cost.seconds:g} s and {cost.mebibytes:.0f} MiB a megapixel, on {cost.machine}")]
    for score in card.published:
        ssim = "" if score.ssim is None else f", SSIM {score.ssim:.3f}"
        facts += [
            (
                "published",
                f"{score.data}: {score.psnr:.2f} dB{ssim} (protocol {score.protocol}; {score.source})",
            )
        ]
    return [f"{card.name}: {card.summary}", *(f"  {title:10} {text}" for title, text in facts if text)]

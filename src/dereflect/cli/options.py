"""Options that several verbs share, as annotated types: same name, same meaning, same help everywhere."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dereflect.errors import InputError


class Device(StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class DType(StrEnum):
    """What to compute in."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Quality(StrEnum):
    """How much work to spend on one picture."""

    fast = "fast"
    best = "best"


class Layer(StrEnum):
    """Which layers to write."""

    both = "both"
    transmission = "transmission"
    reflection = "reflection"


class Format(StrEnum):
    """What to write pictures as."""

    keep = "keep"
    png = "png"
    jpg = "jpg"
    tiff = "tiff"
    webp = "webp"


MODEL_PANEL = "Model"

ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME|FOLDER|FILE",
        help="A name from `dereflect models`, a model folder, a checkpoint file, or a hub id.",
        rich_help_panel=MODEL_PANEL,
    ),
]
DeviceOption = Annotated[
    Device, typer.Option("--device", help="Where to compute.", rich_help_panel=MODEL_PANEL)
]
DTypeOption = Annotated[
    DType,
    typer.Option(
        "--dtype",
        help="Number format of the network; auto takes bfloat16 where the processor has it.",
        rich_help_panel=MODEL_PANEL,
    ),
]
SeedOption = Annotated[
    int,
    typer.Option(
        "--seed", help="Seed of random methods: same seed, same result.", min=0, rich_help_panel=MODEL_PANEL
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A setting of the method; may be given several times.",
        rich_help_panel=MODEL_PANEL,
    ),
]
QualityOption = Annotated[
    Quality,
    typer.Option(
        "--quality",
        help="best also runs mirrored and resized copies and averages them: three times the work.",
        rich_help_panel=MODEL_PANEL,
    ),
]
MaxSizeOption = Annotated[
    int | None,
    typer.Option(
        "--max-size",
        metavar="PIXELS",
        min=1,
        help="Longest side that the network may see; outputs keep the photo's size.",
        rich_help_panel=MODEL_PANEL,
    ),
]
TileOption = Annotated[
    str,
    typer.Option(
        "--tile",
        metavar="auto|off|N",
        help="auto picks by size and memory; off runs the whole picture at once; N cuts tiles of N pixels.",
        rich_help_panel=MODEL_PANEL,
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="DIR", help="Folder to write to; made if it is not there."),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace files that are there already.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
VerboseOption = Annotated[
    int,
    typer.Option(
        "--verbose", "-v", count=True, help="Say more: how each photo was run, and how long it took."
    ),
]


def parse_settings(pairs: Iterable[str] | None) -> dict[str, str]:
    """Turn the values of ``--set key=value`` into a dictionary.

    Raises:
        InputError: a value without ``=`` or with nothing before it, or a key given twice.
    """
    settings: dict[str, str] = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        key = key.strip()
        if not equals or not key:
            raise InputError(pair, "write it as key=value", option="set")
        if key in settings:
            raise InputError(None, "given twice", setting=key)
        settings[key] = value.strip()
    return settings

"""`dereflect export`: a model as one file for any ONNX runtime."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dereflect.cli.options import MODEL_WORDS, OverwriteOption, SetOption, dtype_option, parse_settings


class ComputeChoice(StrEnum):
    """What an exported model computes in."""

    float32 = "float32"
    float16 = "float16"


class WeightsChoice(StrEnum):
    """How an exported model stores its weights."""

    auto = "auto"
    float32 = "float32"
    float16 = "float16"
    int8 = "int8"


def export(
    model: Annotated[
        str,
        typer.Argument(metavar=MODEL_WORDS, help="A name from `dereflect models`, a folder or a checkpoint."),
    ],
    output: Annotated[Path, typer.Argument(metavar="FILE", help="The ONNX file to write.")],
    dtype: Annotated[
        ComputeChoice,
        dtype_option("What it computes in; float16 is for GPUs. Input and outputs stay float32.", panel=None),
    ] = ComputeChoice.float32,
    weights: Annotated[
        WeightsChoice,
        typer.Option(
            "--weights",
            help="How weights are stored; auto takes float16 for those that lose nothing by it.",
        ),
    ] = WeightsChoice.auto,
    settings: SetOption = None,
    overwrite: OverwriteOption = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was written as one line of JSON.")
    ] = False,
) -> None:
    """Write a model as an ONNX file of free height and width, which `--model FILE` runs again.

    The layers that the file gives are measured against torch's own, and the difference is printed and kept in
    the file's metadata. Needs the extra of that name.
    """
    from dereflect.catalog import CARDS, load_method
    from dereflect.export.writing import export as write
    from dereflect.export.writing import exported_form

    if model in CARDS:  # told before gigabytes of weights are asked for
        exported_form(CARDS[model].family, model)
    method, name = load_method(model, parse_settings(settings))
    licence = CARDS[name].licence if name in CARDS else "not stated"
    result = write(
        method,
        output,
        name=name,
        licence=licence,
        dtype=dtype.value,
        weights=weights.value,
        overwrite=overwrite,
    )
    if as_json:
        facts = asdict(result.description) | {"file": str(output), "megabytes": result.megabytes}
        typer.echo(json.dumps(facts, ensure_ascii=False))
        return
    told = result.description
    mean, most = 255 * result.mean, 255 * result.largest
    typer.echo(
        f"{output}: {result.megabytes:.1f} MB, computes in {told.dtype}, weights in {told.weights}; differs "
        f"from torch in float32 by {mean:.3f} of 255 on average, {most:.2f} at most; "
        f"use it with --model {output}"
    )

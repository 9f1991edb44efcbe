"""`dereflect synthesize`: synthetic photos through glass with their true layers, every draw recorded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dereflect.cli.options import OverwriteOption, QuietOption
from dereflect.errors import InputError, Option, Remedy, first_line

if TYPE_CHECKING:
    from dereflect.data.synthesis.triplet import Triplet


def synthesize(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write to.")],
    transmission: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Photos to stand behind the glass.")
    ] = None,
    reflection: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Photos to be mirrored; may be the same folder.")
    ] = None,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="How many triplets.")] = 10,
    rule: Annotated[
        str,
        typer.Option(
            "--model", metavar="NAME", help="ceilnet, dsrnet, zhang, xreflection, screen or physical."
        ),
    ] = "physical",
    preset: Annotated[str, typer.Option(help="Situation of the physical model: day or night.")] = "day",
    size: Annotated[
        int | None, typer.Option(min=16, help="Cut squares of this many pixels; default: each photo whole.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same triplets.")] = 0,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Make the triplets of an earlier record.jsonl again; draws nothing."
        ),
    ] = None,
    contact_sheet: Annotated[
        bool, typer.Option("--contact-sheet", help="Also write contact_sheet.jpg with the first 24.")
    ] = False,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make photos through glass from ordinary photos: blended, transmission_layer and reflection_layer.

    Everything drawn is written to record.jsonl, from which the same files can be made again with --record.
    """
    from dereflect.data.synthesis import record as records
    from dereflect.data.synthesis.physical import PRESETS

    if preset not in PRESETS:
        raise InputError(preset, f"one of {', '.join(PRESETS)}", option="preset")
    if (output / records.RECORD).exists() and not overwrite:
        raise InputError(
            output,
            "holds triplets already",
            remedy=Remedy("{} replaces those of the same number", Option("overwrite", True)),
        )
    if record is not None:
        entries, old_transmission, old_reflection = records.read_record(record)
        transmission, reflection = transmission or old_transmission, reflection or old_reflection
    elif transmission is None or reflection is None:
        raise InputError("--transmission and --reflection", "are needed (or --record)")
    else:
        options = {"preset": preset} if rule == "physical" else {}
        entries = records.plan(transmission, reflection, number, rule, seed, size, **options)
    shown: list[Triplet] = []
    try:
        for entry in entries:
            triplet = records.make(entry, transmission, reflection)
            records.write_triplet(output, entry.name, triplet)
            if contact_sheet and len(shown) < 24:
                shown.append(triplet)
        records.write_record(output / records.RECORD, entries, transmission, reflection)
        if shown:
            records.contact_sheet(shown).save(output / "contact_sheet.jpg", quality=90)
    except OSError as error:
        raise InputError(output, f"cannot be written ({first_line(error)})") from error
    if not quiet:
        typer.echo(f"{len(entries)} triplets in {output}; made again by --record {output / records.RECORD}")

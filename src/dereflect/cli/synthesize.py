"""`dereflect synthesize`: synthetic photos through glass with their true layers, every draw recorded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dereflect.cli.groups import grouped
from dereflect.cli.options import FILES, OverwriteOption, QuietOption
from dereflect.errors import InputError, Option, Remedy

if TYPE_CHECKING:
    from dereflect.data.synthesis.record import TripletRecord

SYNTHESIS = "Synthesis"


@dataclass(frozen=True)
class SynthesisOptions:
    """From which photos, by which rule."""

    transmission: Annotated[
        Path | None,
        typer.Option(
            "--transmission", metavar="DIR", help="Photos to stand behind the glass.", rich_help_panel=FILES
        ),
    ] = None
    reflection: Annotated[
        Path | None,
        typer.Option(
            "--reflection",
            metavar="DIR",
            help="Photos to be mirrored; may be the same folder.",
            rich_help_panel=FILES,
        ),
    ] = None
    record: Annotated[
        Path | None,
        typer.Option(
            "--record",
            metavar="FILE",
            help="Make the triplets of an earlier record.jsonl again; draws nothing.",
            rich_help_panel=FILES,
        ),
    ] = None
    number: Annotated[
        int,
        typer.Option(
            "--number", "-n", metavar="NUMBER", min=1, help="How many triplets.", rich_help_panel=SYNTHESIS
        ),
    ] = 10
    rule: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="NAME",
            help="How light mixes; a name that does not exist lists all rules.",
            rich_help_panel=SYNTHESIS,
        ),
    ] = "physical"
    preset: Annotated[
        str,
        typer.Option(
            "--preset",
            metavar="day|night",
            help="Situation of the physical model.",
            rich_help_panel=SYNTHESIS,
        ),
    ] = "day"
    size: Annotated[
        int | None,
        typer.Option(
            "--size",
            metavar="PIXELS",
            min=16,
            help="Cut squares of this side; without, each photo is taken whole.",
            rich_help_panel=SYNTHESIS,
        ),
    ] = None
    seed: Annotated[
        int,
        typer.Option(
            "--seed", metavar="NUMBER", min=0, help="Same seed, same triplets.", rich_help_panel=SYNTHESIS
        ),
    ] = 0


@grouped
def synthesize(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Folder to write to.", rich_help_panel=FILES),
    ],
    options: SynthesisOptions,
    contact_sheet: Annotated[
        bool,
        typer.Option(
            "--contact-sheet",
            help="Also write contact_sheet.jpg with the first 24.",
            rich_help_panel=FILES,
        ),
    ] = False,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make photos through glass from ordinary photos: blended, transmission_layer and reflection_layer.

    Everything drawn is written to record.jsonl, from which the same files can be made again with --record.
    """
    from dereflect.data.synthesis.physical import PRESETS
    from dereflect.data.synthesis.record import RECORD, write_all

    if options.preset not in PRESETS:
        raise InputError(options.preset, f"one of {', '.join(PRESETS)}", option="preset")
    if (output / RECORD).exists() and not overwrite:
        remedy = Remedy("{} replaces those of the same number", Option("overwrite", True))
        raise InputError(output, "holds triplets already", remedy=remedy)
    entries, transmission, reflection = _entries(options)
    record = write_all(output, entries, transmission, reflection, contact_sheet)
    if not quiet:
        typer.echo(f"{len(entries)} triplets in {output}; --record {record} makes them again")


def _entries(options: SynthesisOptions) -> tuple[list[TripletRecord], Path, Path]:
    """What to make, and from which folders."""
    from dereflect.data.synthesis.record import plan, read_record

    transmission, reflection = options.transmission, options.reflection
    if options.record is not None:
        entries, *recorded = read_record(options.record)
        return entries, transmission or recorded[0], reflection or recorded[1]
    if transmission is None or reflection is None:
        raise InputError("--transmission and --reflection", "are needed (or --record)")
    more = {"preset": options.preset} if options.rule == "physical" else {}
    drawn = plan(transmission, reflection, options.number, options.rule, options.seed, options.size, **more)
    return drawn, transmission, reflection

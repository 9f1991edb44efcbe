"""Ablations from one file: variants of a method by its documented switches, measured in one table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dereflect import recipes
from dereflect.catalog import check_source
from dereflect.errors import InputError, Remedy, first_line
from dereflect.evaluation.protocol import Protocol
from dereflect.evaluation.records import TRANSMISSION, UNTOUCHED
from dereflect.evaluation.summary import Row
from dereflect.evaluation.systems import Model
from dereflect.evaluation.tables import Line, Table, heading, with_interval
from dereflect.separator import load
from dereflect.strict import first_fault


class Variant(BaseModel):
    """One row: what the paper calls it, and how to get it."""

    model_config = ConfigDict(extra="forbid")

    name: str
    shows: dict[str, str] = Field(default_factory=dict, description="cells of the paper's switch columns")
    model: str | None = Field(
        None, description="its own weights, where it was trained apart; {model} stands for the one given"
    )
    options: dict[str, str] = Field(default_factory=dict, description="settings of the method")


class Ablation(BaseModel):
    """A whole ablation file."""

    model_config = ConfigDict(extra="forbid")

    title: str
    source: str = Field("", description="paper and table that this follows")
    model: str | None = Field(None, description="weights that variants without their own share")
    switches: list[str] = Field(default_factory=list, description="heads of the switch columns, in order")
    variants: list[Variant] = Field(min_length=1)


def read_ablation(source: str | Path) -> Ablation:
    """Read and check an ablation, by its name (``dereflect.recipes.names("ablations")``) or its file.

    Raises:
        InputError: not readable, an unknown key, a variant without a model, or two of one name.
    """
    path = recipes.find(source, "ablations", InputError)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        ablation = Ablation.model_validate(content)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, f"cannot be read ({first_line(error)})") from error
    except yaml.YAMLError as error:
        raise InputError(path, f"not valid YAML ({first_line(error)})") from error
    except ValidationError as error:
        raise InputError(path, first_fault(error)) from error
    names = [variant.name for variant in ablation.variants]
    for name in names:
        if names.count(name) > 1:
            raise InputError(path, f"two variants are called '{name}'")
    for variant in ablation.variants:
        unknown = set(variant.shows) - set(ablation.switches)
        if unknown:
            raise InputError(path, f"'{variant.name}' shows '{sorted(unknown)[0]}', which is no switch")
    return ablation


def load_variants(
    ablation: Ablation, model: str | None, options: Mapping[str, str], settings: Mapping[str, Any]
) -> Iterator[Model]:
    """Load the variants one after the other; what names no model is refused before the first is loaded.

    Args:
        model: weights given by the user; they take the place of the file's shared ones.
        options: given by the user; a variant's own switches win.

    Raises:
        InputError: neither the file nor the user says which weights a variant uses.
        ModelError: no model of that name, no such folder or file.
    """
    sources = [_source(variant, model or ablation.model) for variant in ablation.variants]
    for source in sources:
        check_source(source)

    def loaded(variant: Variant, source: str) -> Model:
        mine = {**options, **variant.options}
        return Model(load(source, options=mine, **settings), variant.name, {**settings, **mine})

    return map(loaded, ablation.variants, sources)


def _source(variant: Variant, shared: str | None) -> str:
    """Which weights a variant uses."""
    source = variant.model or shared
    if source is None or ("{model}" in source and shared is None):
        raise InputError(
            f"ablation variant '{variant.name}'", "names no model", remedy=Remedy("give {}", "model")
        )
    return source.replace("{model}", shared or "")


def ablation_table(
    ablation: Ablation, rows: Sequence[Row], protocol: Protocol, layer: str = TRANSMISSION
) -> Table:
    """The paper's shape: switch columns, then each data set's numbers side by side."""
    sets = list(dict.fromkeys(row.data for row in rows if row.layer == layer))
    columns = [c for c in protocol.columns if any(c.name in r.means for r in rows if r.layer == layer)]
    header = [
        "variant",
        *ablation.switches,
        *(f"{data} {heading(column)}" for data in sets for column in columns),
    ]
    shown = {variant.name: variant.shows for variant in ablation.variants}
    lines = []
    for name in [UNTOUCHED, *shown]:
        found = {row.data: row for row in rows if row.model == name and row.layer == layer}
        cells = [shown.get(name, {}).get(switch, "") for switch in ablation.switches]
        for data in sets:
            cells += [with_interval(found[data].means.get(column.name), column) for column in columns]
        lines.append(Line(name, cells))
    return Table(f"{ablation.title} ({layer})", header, lines)

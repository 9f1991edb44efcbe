"""Numbers that papers print, from a data file with source and table, to stand beside measured ones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Published:
    """One printed result."""

    data: str
    """Name of the data set (`dereflect.data.known_sets`)."""
    layer: str
    method: str
    values: dict[str, float]
    """By column name; LPIPS without a named network is ``lpips``."""
    source: str
    table: str
    protocol: str


@cache
def published() -> tuple[Published, ...]:
    """All printed results known to this version."""
    content = json.loads(files("dereflect.evaluation").joinpath("published.json").read_text(encoding="utf-8"))
    found = []
    for table in content["tables"]:
        for data, methods in table["results"].items():
            for method, numbers in methods.items():
                values = {c: n for c, n in zip(table["columns"], numbers, strict=True) if n is not None}
                found.append(
                    Published(
                        data,
                        table["layer"],
                        method,
                        values,
                        table["source"],
                        table["table"],
                        table["protocol"],
                    )
                )
    return tuple(found)


def published_for(data: str, layer: str) -> list[Published]:
    """The printed results on a data set and layer."""
    return [item for item in published() if item.data == data and item.layer == layer]

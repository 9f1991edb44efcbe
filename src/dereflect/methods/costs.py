"""What each model costs on our machine, read from ``costs.json``, which ``benchmarks/costs.py`` writes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("costs.json")
"""A copy of what ``docs/measured.json`` holds, in the package."""


@dataclass(frozen=True)
class Cost:
    """What one photo costs, as measured by us."""

    seconds: float
    """A megapixel, without reading and writing."""
    mebibytes: float
    """Peak memory of the process at one megapixel, weights included."""
    machine: str
    """Processor, threads, number format and day."""


@cache
def _content() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return content


def measured_cost_of(name: str) -> Cost | None:
    """The measured cost of the card `name`; None where it was not measured."""
    found = _content().get(name)
    return None if found is None else Cost(**found)

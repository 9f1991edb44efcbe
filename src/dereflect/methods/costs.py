"""What each model costs on our machine, read from ``costs.json``, which ``benchmarks/costs.py`` writes."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from dereflect.methods.card import Cost

FILE = Path(__file__).with_name("costs.json")
"""A copy of what ``docs/measured.json`` holds, in the package."""


@cache
def _content() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return content


def measured_cost_of(name: str) -> Cost | None:
    """The measured cost of the card `name`; None where it was not measured."""
    found = _content().get(name)
    return None if found is None else Cost(**found)

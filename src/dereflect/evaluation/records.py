"""One measured picture as a record, and the file of records that lets a run go on where it stopped."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from dereflect.errors import InputError

TRANSMISSION, REFLECTION = "transmission", "reflection"
LAYERS = (TRANSMISSION, REFLECTION)
UNTOUCHED = "untouched input"
_WRITING = Lock()


@dataclass(frozen=True)
class Record:
    """What one model did on one picture."""

    key: str
    """Digest of everything the numbers depend on: files, model, settings, protocol, version."""
    model: str
    data: str
    picture: str
    width: int
    height: int
    layers: dict[str, dict[str, float]]
    """Layer name to column name to number; a layer without ground truth is not there."""
    pictures: dict[str, str] = field(default_factory=dict)
    """Preview files, relative to the report's folder, by role (``input``, ``transmission``, ...)."""
    device: str = ""
    """Where the model ran and in what; empty for the untouched input."""
    seconds: float | None = None
    peak_bytes: int | None = None

    def megapixels(self) -> float:
        """Size of the picture in megapixels."""
        return self.width * self.height / 1e6


def write_record(path: Path, record: Record) -> None:
    """Append a record as one line of JSON; may be called from several threads."""
    with _WRITING, path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(encode(asdict(record)), ensure_ascii=False) + "\n")


def drop_cut_line(path: Path) -> None:
    """Take away what a crash has left of a last line, so that the next record begins a line of its own."""
    if path.exists():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(path, whole)


def read_records(path: Path) -> dict[str, Record]:
    """The records of an earlier run by key; a last line cut short by a crash is skipped.

    Raises:
        InputError: a line that is no record.
    """
    found: dict[str, Record] = {}
    if not path.exists():
        return found
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            record = Record(**json.loads(line))
        except (json.JSONDecodeError, TypeError) as error:
            if number == len(lines):
                break
            raise InputError(path, f"line {number} is not a record; remove the file to start anew") from error
        layers = {layer: {k: float(v) for k, v in row.items()} for layer, row in record.layers.items()}
        found[record.key] = Record(**{**asdict(record), "layers": layers})
    return found


def encode(value: Any) -> Any:
    """Make a value fit for strict JSON.

    Infinities and NaN become the strings ``"inf"``, ``"-inf"``, ``"nan"``.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    return value


def models_of(records: Iterable[Record]) -> list[str]:
    """Model names in the order they first appear, the untouched input first."""
    names = dict.fromkeys(record.model for record in records)
    return ([UNTOUCHED] if UNTOUCHED in names else []) + [name for name in names if name != UNTOUCHED]

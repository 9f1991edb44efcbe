"""Arguments of a kernel by name: a NamedTuple for its caller is a record of the same fields inside of it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple, get_type_hints

import numpy as np
from torch import Tensor

PackedTable = np.ndarray[Any, np.dtype[np.void]]

LEADING = ("taken", "tasks")
"""What precedes the fields in every record: how many tasks threads have taken, and how many there are."""


@lru_cache(maxsize=64)
def record_type(table: type[NamedTuple]) -> np.dtype[np.void]:
    """The record of a table: 64 bits for each field, a float where it is annotated so, else an integer.

    Tensors become the address of their first number, in bytes, and an absent one becomes 0.
    """
    hints = get_type_hints(table)
    kinds = [(name, np.float64 if hints[name] is float else np.int64) for name in table._fields]
    return np.dtype([*((name, np.int64) for name in LEADING), *kinds])


def packed(table: NamedTuple, tasks: int) -> PackedTable:
    """One record of the values of a table. The tensors must outlive it."""
    values = [_number(value) for value in table]
    return np.array([(0, tasks, *values)], dtype=record_type(type(table)))


def _number(value: Any) -> Any:
    if value is None:
        return 0
    return value.data_ptr() if isinstance(value, Tensor) else value

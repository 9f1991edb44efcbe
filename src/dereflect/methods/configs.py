"""Configurations of networks, read from files and recipes and checked field by field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from dereflect.errors import ModelError

Config = TypeVar("Config")


def read_fields(kind: type[Config], title: str, settings: Mapping[str, Any], source: str) -> Config:
    """Build a configuration from a mapping, e.g. a parsed ``config.json``; lists become tuples.

    Args:
        kind: a dataclass whose fields have defaults; tuples are of whole numbers.
        title: the family as papers write it.
        settings: some of its fields.
        source: where they come from.

    Raises:
        ModelError: an unknown key or a value of the wrong type; names `source` and the key.
    """
    known: dict[str, type] = {field.name: type(field.default) for field in fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in known:
            raise ModelError(source, f"unknown {title} setting '{key}'; one of {', '.join(known)}")
        several = known[key] is tuple
        given = tuple(value) if several and isinstance(value, list) else value
        numbers = given if isinstance(given, tuple) else ()
        if type(given) is not known[key] or any(type(number) is not int for number in numbers):
            wanted = "list of integers" if several else known[key].__name__
            raise ModelError(source, f"{title} setting {key} must be of type {wanted} (got {value!r})")
        values[key] = given
    return kind(**values)


def refused(title: str, config: Any, field: str, reason: str) -> ModelError:
    """The error of a field whose value is of the right type, but cannot be used."""
    return ModelError(f"{title} config", f"{field}={getattr(config, field)!r} {reason}")

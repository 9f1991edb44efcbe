"""Validated settings: a strict base for groups of them, and one line for the first fault in them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from dereflect.errors import RecipeError

Group = TypeVar("Group", bound=BaseModel)


class Strict(BaseModel):
    """A group of settings in which an unknown key is an error."""

    model_config = ConfigDict(extra="forbid")


def first_fault(error: ValidationError) -> str:
    """One line for a pydantic error: the key at fault and what is wrong with it."""
    fault = error.errors()[0]
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"unknown key '{key}'; check its spelling"
    if fault["type"] == "missing":
        return f"key '{key}' is missing; add it or give {key}=VALUE"
    return f"{key}: {fault['msg']} (got {fault['input']!r})"


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint at the known words nearest to a misspelt one, or at all of them where none is near."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"one of {', '.join(known)}"


def validated(kind: type[Group], values: Mapping[str, Any], source: str = "settings") -> Group:
    """A recipe's group of settings as an instance of `kind`.

    Raises:
        RecipeError: an unknown key, or a value of the wrong kind or range; names `source` and the key.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise RecipeError(source, first_fault(error)) from error

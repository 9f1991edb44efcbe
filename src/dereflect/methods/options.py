"""The free settings of a method (``--set key=value``): one validated model each, listed by the card."""

from __future__ import annotations

from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from dereflect.errors import InputError
from dereflect.strict import nearest


class MethodOptions(BaseModel):
    """Base of every method's settings; as it stands, the settings of a method that has none.

    A subclass is a pydantic model. Each field has a type, a default and, as its ``description``, a meaning.
    Values may be strings, as the command line gives them: ``"on"`` and ``"off"`` for a bool, ``"0.2"`` for a
    float.

    Raises:
        InputError: an unknown setting (the nearest is named), or a value of the wrong kind or range.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _fault(error, list(type(self).model_fields)) from None


def describe(options: type[MethodOptions]) -> list[tuple[str, str, str, str]]:
    """(name, type, default, meaning) of every setting, in words."""
    return [
        (name, _kind(field), _shown(field.default), field.description or "")
        for name, field in options.model_fields.items()
    ]


def unknown(method: str, known: list[str], key: str) -> str:
    """What is said of a setting that does not exist."""
    return f"{method} has no such setting; {nearest(key, known)}" if known else f"{method} has no settings"


def _fault(error: ValidationError, known: list[str]) -> InputError:
    fault = error.errors()[0]
    key, kind, context = ".".join(str(part) for part in fault["loc"]), fault["type"], fault.get("ctx", {})
    if kind == "extra_forbidden":
        remedy = unknown("the method", known, key)
    elif kind == "missing":
        return InputError(None, "is missing", setting=key)
    elif kind.startswith("bool"):
        remedy = "give on or off"
    elif kind.startswith("int"):
        remedy = "give a whole number"
    elif kind.startswith("float"):
        remedy = "give a number"
    elif kind == "literal_error":
        remedy = f"give one of {_words(str(context['expected']))}"
    elif kind in ("greater_than_equal", "greater_than", "less_than_equal", "less_than"):
        bound = next(iter(context.values()))
        remedy = f"give a number {kind.replace('_', ' ').replace('than equal', 'than or equal to')} {bound:g}"
    else:
        remedy = fault["msg"].removeprefix("Value error, ")
    return InputError(fault["input"], remedy, setting=key)


def _words(expected: str) -> str:
    return expected.replace("'", "").replace(" or ", ", ")


def _kind(field: FieldInfo) -> str:
    """The type as a person writes its values, e.g. ``on|off`` or ``ddim|lcm``."""
    kinds = [kind for kind in (get_args(field.annotation) or (field.annotation,)) if kind is not type(None)]
    names = {bool: "on|off", int: "whole number", float: "number", str: "text"}
    words = []
    for kind in kinds:
        choices = get_args(kind) or ((kind,) if isinstance(kind, str) else ())
        name = getattr(kind, "__name__", str(kind)).lower()
        words += [str(choice) for choice in choices] or [names.get(kind, name)]
    return "|".join(words)


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    return "" if default is None else str(default)

"""Verbs that take groups of options as objects, so that shared options are declared once."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin, get_type_hints


class Omit(tuple[str, ...]):
    """Fields of a group that a verb does not offer: ``Annotated[ModelOptions, Omit(["model"])]``."""


def grouped(verb: Callable[..., None]) -> Callable[..., None]:
    """Make each field of a dataclass that `verb` takes an option of its own.

    Typer sees a function of single options; `verb` gets the dataclasses made of them. Omitted fields keep
    their defaults.
    """
    groups: dict[str, tuple[type[Any], list[dataclasses.Field[Any]]]] = {}
    parameters = []
    annotations = get_type_hints(verb, include_extras=True)
    for parameter in inspect.signature(verb).parameters.values():
        kind, omitted = _group(annotations[parameter.name])
        if kind is None:
            parameters.append(_parameter(parameter.name, annotations[parameter.name], parameter.default))
            continue
        fields = [field for field in dataclasses.fields(kind) if field.name not in omitted]
        groups[parameter.name] = kind, fields
        types = get_type_hints(kind, include_extras=True)
        parameters += [_parameter(field.name, types[field.name], field.default) for field in fields]

    def run(**given: Any) -> None:
        objects = {
            name: kind(**{field.name: given.pop(field.name) for field in fields})
            for name, (kind, fields) in groups.items()
        }
        verb(**given, **objects)

    run.__name__, run.__doc__ = verb.__name__, verb.__doc__
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def _group(annotation: Any) -> tuple[type[Any] | None, Omit]:
    omitted = Omit()
    if get_origin(annotation) is Annotated:
        annotation, *extras = get_args(annotation)
        omitted = next((extra for extra in extras if isinstance(extra, Omit)), omitted)
    is_group = isinstance(annotation, type) and dataclasses.is_dataclass(annotation)
    return (annotation if is_group else None), omitted


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    default = inspect.Parameter.empty if default is dataclasses.MISSING else default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)

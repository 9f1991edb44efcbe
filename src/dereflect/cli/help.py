"""What `--help` shows: paragraphs that fill the terminal's width, and no type of options without a value."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from typer.core import TyperGroup


class HelpfulGroup(TyperGroup):
    """The verbs, their help made ready to be shown."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        _tidy(self)


def _tidy(command: Any) -> None:
    """Make the help of a command, and of those below it, ready."""
    command.help = filled(command.help or "")
    for parameter in command.params:
        takes_no_value = getattr(parameter, "is_flag", False) or getattr(parameter, "count", False)
        if takes_no_value and parameter.metavar is None:
            parameter.metavar = ""  # some versions of typer would call it <bool>
    command.get_help_option = _without_type(command.get_help_option)
    for below in getattr(command, "commands", {}).values():
        _tidy(below)


def _without_type(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def without(context: Any) -> Any:
        option = make(context)
        if option is not None:
            option.metavar = ""
        return option

    return without


def filled(text: str) -> str:
    r"""Text in which only empty lines part paragraphs: the terminal breaks the lines.

    >>> filled("Separate photos\ntaken through glass.\n\nExit code: 0.")
    'Separate photos taken through glass.\n\nExit code: 0.'
    """
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n"))

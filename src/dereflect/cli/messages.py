"""How the command line words faults: options as flags, one line each."""

from __future__ import annotations

import re
from typing import Any

from dereflect.errors import DereflectError, Option
from dereflect.escapes import one_line

_FLAGS = {
    "metadata": "strip-metadata",
    "radius": "steady",
    "rule": "model",
    "side": "size",
    "cpus": "num-cpus",
    "gpus": "num-gpus",
}
"""Python names of options whose flags are called otherwise."""


def flag(option: Option) -> str:
    """An option as the command line writes it.

    >>> flag(Option("max_size", 0)), flag(Option("overwrite", True)), flag(Option("k", "2", setting=True))
    ('--max-size 0', '--overwrite', '--set k=2')
    """
    if option.setting:
        return f"--set {option.name}" + ("" if option.value is None else f"={option.value}")
    name = "--" + _FLAGS.get(option.name, option.name.replace("_", "-"))
    return name if option.value is None or option.value is True else f"{name} {option.value}"


def fault_line(error: DereflectError) -> str:
    """A fault in one line, options as flags."""
    return error.line(flag)


def option_of(error: DereflectError) -> str | None:
    """The flag whose value is at fault, for programs; None where no option is."""
    name = error.option or error.setting
    return None if name is None else flag(Option(name, setting=error.setting is not None))


def reason_of(error: DereflectError, name: str) -> str:
    """As `fault_line`, without the file name at its head where that is `name`."""
    return error.rest(flag) if error.head(flag) == one_line(name) else fault_line(error)


def usage_line(error: Any) -> str:
    """A fault in the words of the command line: the word, what is wrong with it, and where to read on.

    Args:
        error: click's usage error.
    """
    text = " ".join(error.format_message().split()).removesuffix(".")
    text = re.sub(r"^Invalid value for '?([^':]+)'?: (?:Value error, |Input )?", r"\1: ", text)
    text = re.sub(r"^Missing (?:argument|option|parameter) '([^']+)'(?: / '[^']+')*", r"\1: is missing", text)
    text = re.sub(r"^No such (option|command):? '?([^ ']+)'?", r"\2: no such \1", text)
    text = re.sub(r"^Option '([^']+)' ", r"\1: ", text)
    text = re.sub(r"^Got unexpected extra arguments?(?:\(s\))? \((.*)\)", r"\1: not expected here", text)
    text = text.replace("(Possible options: ", "(perhaps ")
    place = error.ctx.command_path if error.ctx is not None else "dereflect"
    return f"{text}; see  {place} --help"

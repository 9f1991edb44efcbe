"""The errors that people see: one line that names what is at fault, what was wrong and what to do.

An error knows no front end. It names an option by its Python name, apart from its other words; each front end
spells that name its own way (``max_size``, ``--max-size``, a form field) with `DereflectError.line`.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import NoneType
from typing import Any, Self

from dereflect.escapes import one_line


@dataclass(frozen=True)
class Option:
    """An option as an error names it.

    Attributes:
        name: the Python name of an argument, e.g. ``"max_size"``, or a key of the method's own settings.
        value: what it was, or what it should be; None names the option alone.
        setting: whether it is one of the method's own settings (a key of the argument ``options``).
    """

    name: str
    value: object = None
    setting: bool = False

    def __str__(self) -> str:
        """As a Python user gives it."""
        if self.value is True:
            return f"{self.name}=True"
        if self.setting:
            return f"setting {self.name}" + ("" if self.value is None else f"={self.value}")
        return self.name if self.value is None else f"{self.name} {self.value}"


Spell = Callable[[Option], str | None]
"""How a front end writes an option; None where it does not offer it."""


class Remedy:
    """What to do about a fault by means of options; a front end that lacks one of them leaves it out.

    Args:
        text: with ``{}`` in the place of each option.
        options: their names, or `Option`s.

    >>> str(Remedy("raise it with {}", "max_pixels"))
    'raise it with max_pixels'
    >>> str(Remedy("{} replaces it", Option("overwrite", True)))
    'overwrite=True replaces it'
    """

    def __init__(self, text: str, *options: str | Option) -> None:
        self.text = text
        self.options = tuple(Option(option) if isinstance(option, str) else option for option in options)

    def words(self, spell: Spell) -> str:
        """The remedy as a front end says it; empty where it does not offer every option."""
        names = [spell(option) for option in self.options]
        return "" if None in names else self.text.format(*names)

    def __str__(self) -> str:
        return self.words(str)


OVERWRITE = Remedy("{} replaces it", Option("overwrite", True))

UNNAMED = "picture"
"""The subject of errors of a picture that came without a file name."""


class DereflectError(Exception):
    """Base of every error that is the user's to mend: one line, no traceback, exit code 2.

    ``str()`` gives ``subject: reason; remedy`` for a Python user.

    Args:
        subject: what is at fault: a file, a word, a key, or the value of `option` or `setting`.
        reason: what was wrong, and what to do.
        option: the Python name of the argument whose value is at fault.
        setting: the method's own setting whose value is at fault.
        remedy: options that would help.
    """

    def __init__(
        self,
        subject: object,
        reason: str,
        *,
        option: str | None = None,
        setting: str | None = None,
        remedy: Remedy | None = None,
    ) -> None:
        super().__init__(subject, reason)
        self.subject = "" if subject is None else str(subject)
        self.reason = reason
        self.option = option
        self.setting = setting
        self.remedy = remedy

    def line(self, spell: Spell = str) -> str:
        """The whole error in one line, options spelt by `spell`."""
        return ": ".join(part for part in (self.head(spell), self.rest(spell)) if part)

    def head(self, spell: Spell = str) -> str:
        """What is at fault, in one line."""
        name = self.option or self.setting
        if name is None:
            return one_line(self.subject)
        option = Option(name, self.subject or None, self.setting is not None)
        return one_line(spell(option) or str(option))

    def rest(self, spell: Spell = str) -> str:
        """What was wrong and what to do, in one line."""
        remedy = "" if self.remedy is None else self.remedy.words(spell)
        return one_line(f"{self.reason}; {remedy}" if remedy else self.reason)

    def about(self, subject: object) -> Self:
        """The same fault of something else, for code that learns a file's name only further up.

        The fault of an option or setting stays what it is.
        """
        if self.option or self.setting:
            return self
        return type(self)(subject, self.reason, remedy=self.remedy)

    def __str__(self) -> str:
        return self.line()


class InputError(DereflectError):
    """A file, folder, picture or option that cannot be used as it is."""


class ModelError(DereflectError):
    """A model, checkpoint or configuration that cannot be loaded."""


class RecipeError(DereflectError):
    """A training recipe that cannot be run."""


class MissingExtra(DereflectError, ImportError):  # noqa: N818 - reads as what it says
    """An optional package is needed; the message names the install command.

    Args:
        package: the distribution that is missing, e.g. ``"diffusers"``.
        extra: the extra of dereflect that brings it, e.g. ``"diffusion"``.
        purpose: what it is needed for, e.g. ``"the DiffRS method"``.
        subject: the file that needs it, if it is a file.
    """

    def __init__(self, package: str, extra: str, purpose: str, subject: object = None) -> None:
        super().__init__(subject, f"{purpose} needs {package}: run pip install 'dereflect[{extra}]'")
        self._needs = package, extra, purpose

    def about(self, subject: object) -> Self:
        """The same need of something else."""
        return type(self)(*self._needs, subject)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self._needs, self.subject)


class Unforeseen(DereflectError):  # noqa: N818 - reads as what it says
    """What no one foresaw while one photo was read, run or written; `fault_of` makes it.

    Attributes:
        trace: where it happened, as Python writes it; many lines.
    """

    trace = ""

    def about(self, subject: object) -> Self:
        """The same fault of something else."""
        fault = super().about(subject)
        fault.trace = self.trace
        return fault


def fault_of(error: Exception, subject: object = UNNAMED) -> DereflectError:
    """Any exception as the fault of one photo: an error of ours as it is, else `Unforeseen` with its type.

    `Unforeseen` holds no frame of the failed call, and so none of its pictures.
    """
    if isinstance(error, DereflectError):
        if error.subject != UNNAMED:
            return error
        named = error.about(subject)
        named.__cause__ = error.__cause__
        return named
    kind, said = type(error).__name__, first_line(error)
    fault = Unforeseen(subject, kind if said == kind else f"{kind}: {said}")
    fault.trace = trace_of(error)
    return fault


def trace_of(error: BaseException) -> str:
    """Where an exception was raised, as Python writes it, without the line break at its end.

    Empty for faults that were foreseen: a file that is missing, an option out of range.
    """
    if isinstance(error, Unforeseen):
        return error.trace
    if isinstance(error, DereflectError) and isinstance(error.__cause__, (DereflectError, OSError, NoneType)):
        return ""
    return "".join(traceback.format_exception(error)).rstrip()


def first_line(error: BaseException) -> str:
    """What another library's exception says, in one line: of an `OSError` without number and file name."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    try:
        said = str(error).strip()
    except Exception:  # an exception of another library that cannot say what it is
        said = ""
    return (said.splitlines() or [type(error).__name__])[0]

"""How the service words faults: options as form fields; what a visitor cannot set is left out."""

from __future__ import annotations

from starlette.exceptions import HTTPException

from dereflect.errors import UNNAMED, DereflectError, Option

FIELDS = frozenset(
    ("image", "model", "quality", "layers", "strength", "mask", "strokes", "format", "metadata")
)
"""Form fields; each is called as the Python option that it sets."""
_SIZE_OPTIONS = frozenset(("max_size", "max_pixels"))
"""Options of the person who runs the service; a visitor can send a smaller photo instead."""


def field(option: Option) -> str | None:
    """An option as a form names it; None where no form field sets it."""
    return str(option) if option.name in FIELDS and not option.setting else None


class FieldFault(HTTPException):
    """A fault of one form field.

    Args:
        status, text: of the answer.
        field: the form field at fault; None where no field is.
    """

    def __init__(self, status: int, text: str, field: str | None) -> None:
        super().__init__(status, text)
        self.field = field


def field_of(error: DereflectError) -> str | None:
    """The form field at fault; None where none is."""
    if error.subject == UNNAMED and not (error.option or error.setting):
        return "image"
    name = error.option or error.subject
    return name if name in FIELDS else None


def fault_line(error: DereflectError) -> str:
    """A fault in one line, without the name that a picture in memory goes by."""
    line = error.rest(field) if error.head(field) == UNNAMED else error.line(field)
    too_large = error.remedy is not None and any(
        option.name in _SIZE_OPTIONS for option in error.remedy.options
    )
    return f"{line}; send a smaller photo" if too_large else line

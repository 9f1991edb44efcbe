"""The errors that people see: one line that names what is at fault, what was wrong and what to do."""


class DereflectError(Exception):
    """Base of every error that is the user's to mend: one line, no traceback, exit code 2."""


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
    """

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}: run  pip install 'dereflect[{extra}]'")

"""The recipes that come with the package, as YAML files: trainings, and ablations in a sub-folder."""

from __future__ import annotations

import warnings
from pathlib import Path

from dereflect.errors import DereflectError, RecipeError
from dereflect.strict import nearest

FOLDER = Path(__file__).parent


def names(kind: str = "") -> list[str]:
    """Names of the recipes, or of those of a `kind` (``"ablations"``), sorted."""
    return sorted(path.stem for path in (FOLDER / kind).glob("*.yaml"))


def find(source: str | Path, kind: str = "", error: type[DereflectError] = RecipeError) -> Path:
    """The file of a recipe that is given by its path, or by the name of one that comes with the package.

    Args:
        source: an existing file wins over a name.
        kind: sub-folder of what comes with the package: "" for trainings, or "ablations".
        error: class of the error.

    Raises:
        DereflectError: neither; the nearest names are given.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return path
    own = FOLDER / kind / f"{path.stem}.yaml"
    if str(source) == path.stem and own.is_file():
        return own
    if path == Path("recipes", kind, own.name) and own.is_file():  # where they were in a clone
        warnings.warn(
            f"{source} is now found by its name, '{path.stem}', from anywhere",
            DeprecationWarning,
            stacklevel=2,
        )
        return own
    raise error(source, f"no such file, and no recipe of that name; {nearest(path.stem, names(kind))}")


def summary(path: Path) -> str:
    """What a recipe's first comment says, up to its first full stop or how it is run."""
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("#").partition(". ")[0].strip().removesuffix(".")

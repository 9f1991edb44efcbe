"""The data folders of a recipe: each by its own name, or all in one folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dereflect.errors import RecipeError


def data_folder(folders: Mapping[str, Path], name: str, inside: str) -> Path:
    """A folder by its own name, or a sub-folder of the one that holds all, which is named ``data``.

    Raises:
        RecipeError: it is not there; says how to give it.
    """
    if name not in folders and "data" not in folders:
        raise RecipeError("data", f"no folder named '{name}'; give data.{name}=FOLDER")
    folder = folders[name] if name in folders else folders["data"] / inside
    if not folder.is_dir():
        raise RecipeError(folder, f"no such folder (data '{name}'); give data.{name}=FOLDER")
    return folder


def whole_folder(folders: Mapping[str, Path]) -> Path:
    """The folder that holds all data, for trainings that take no folders by name.

    Raises:
        RecipeError: there is none, or another besides.
    """
    for name in folders:
        if name != "data":
            raise RecipeError(f"data.{name}", "this training takes one folder that holds all: data=FOLDER")
    return folders["data"]

"""Names to ready methods: what can be loaded, and how each kind of source is recognised."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dereflect.errors import InputError, MissingExtra, ModelError, first_line
from dereflect.methods.card import ModelCard
from dereflect.methods.family import Family

if TYPE_CHECKING:
    from dereflect.methods.contract import Method

__all__ = ["CARDS", "FAMILIES", "ModelCard", "families", "family", "load_method"]

FAMILIES = {
    "default": "dereflect.methods.default.family",
    "dsit": "dereflect.methods.dsit.family",
    "dsrnet": "dereflect.methods.dsrnet.family",
    "rdnet": "dereflect.methods.rdnet.family",  # before ytmt, which takes any file with "icnn" for its own
    "ytmt": "dereflect.methods.ytmt.family",
    "diffrs": "dereflect.methods.diffrs.family",
    "dmdnet": "dereflect.methods.dmdnet.family",
    "windowseat": "dereflect.methods.windowseat.family",
    "onnx_file": "dereflect.methods.onnx_file.family",
}
"""Family names to the modules that hold their ``FAMILY``. A new method adds its line here, and no other."""


def family(name: str) -> Family:
    """Import a family by its name in `FAMILIES`."""
    return cast(Family, importlib.import_module(FAMILIES[name]).FAMILY)


def families() -> Iterator[Family]:
    """All families, in the order of `FAMILIES`."""
    return (family(name) for name in FAMILIES)


class _Cards(Mapping[str, ModelCard]):
    """The cards of all families, by name, read anew at each use."""

    def _all(self) -> dict[str, ModelCard]:
        return {card.name: card for one in families() for card in one.cards}

    def __getitem__(self, name: str) -> ModelCard:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


CARDS: Mapping[str, ModelCard] = _Cards()
"""Model cards by name."""


def load_method(
    source: str | os.PathLike[str], options: Mapping[str, Any] | None = None
) -> tuple[Method, str]:
    """Build a method from a catalog name, a folder, a checkpoint file or a hub id (``owner/name``).

    Args:
        source: what to load. An existing path wins over a name.
        options: free settings of the method (``--set key=value``), as strings or as values.

    Returns:
        (method, name): the method in float32 on the CPU, and the name to show for it.

    Raises:
        ModelError: nothing of that name (the nearest are named), or weights that do not fit.
        InputError: a file that cannot be read, or a setting that is unknown or out of range.
    """
    settings = dict(options or {})
    text = os.fspath(source)
    path = Path(text).expanduser()
    if path.is_dir():
        return _load_folder(path, settings), path.name
    if path.is_file():
        return _load_file(path, settings), path.stem
    if text in CARDS:
        found = family(CARDS[text].family)
        return found.load().from_name(text, found.read_options(settings)), text
    check_source(text)
    return _load_hub(text, settings), text


def check_source(source: str) -> None:
    """Refuse at once, without loading anything, what names no model; a hub is not asked.

    Raises:
        ModelError: no model of this name, no such file or folder, and no name of a hub's repository.
        MissingExtra: it could be a hub's, and what asks the hub is not installed.
    """
    path = Path(source).expanduser()
    if source in CARDS or path.is_dir() or path.is_file():
        return
    if source.count("/") != 1 or path.suffix or source.startswith((".", "/", "~")):
        from dereflect.strict import nearest

        hint = nearest(source, CARDS)
        raise ModelError(source, f"no model of this name, and no such file or folder; {hint}")
    if importlib.util.find_spec("huggingface_hub") is None:
        purpose = f"'{source}' is no model's name and no path here; to ask the hub for it"
        raise MissingExtra("huggingface-hub", "diffusion", purpose)


def _load_folder(folder: Path, settings: Mapping[str, Any]) -> Method:
    from dereflect.weights import read_config

    for found in families():
        if found.is_folder(folder):
            return found.load().from_folder(folder, {}, found.read_options(settings))
    name, config = read_config(folder)
    if name not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise ModelError(folder / "config.json", f"method '{name}' is unknown; one of {known}")
    found = family(name)
    return found.load().from_folder(folder, config, found.read_options(settings))


def _load_file(path: Path, settings: Mapping[str, Any]) -> Method:
    from dereflect.images import PICTURE_SUFFIXES
    from dereflect.weights import read_checkpoint

    if path.name == "config.json" or (
        path.name == "model.safetensors" and path.with_name("config.json").is_file()
    ):
        return _load_folder(path.parent, settings)
    if path.suffix.lower() in PICTURE_SUFFIXES:
        raise InputError(path, "is a picture, not a model")
    for found in families():
        if found.is_file(path):
            return found.load().from_checkpoint(path, {}, found.read_options(settings))
    checkpoint = read_checkpoint(path)
    for found in families():
        loader = found.load()
        if loader.recognises(checkpoint):
            return loader.from_checkpoint(path, checkpoint, found.read_options(settings))
    keys = ", ".join(list(checkpoint)[:5])
    raise ModelError(path, f"a checkpoint of no known method (its first keys: {keys})")


def _load_hub(name: str, settings: Mapping[str, Any]) -> Method:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(name)
    except Exception as error:
        reason = f"neither a model's name nor a path, and the hub gave no answer ({first_line(error)})"
        raise ModelError(name, reason) from error
    return _load_folder(Path(folder), settings)

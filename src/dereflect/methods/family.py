"""What a method tells the rest of the package about itself: one `Family` object in its ``family.py``.

This module and every ``family.py`` import neither torch nor an extra, so that listing models and ``--help``
stay fast. What needs them is named by reference, ``".module:name"`` inside the method's own package, and
imported when it is first used.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from dereflect.errors import InputError, ModelError
from dereflect.methods.card import ModelCard

if TYPE_CHECKING:
    from dereflect.downloads import ReportBytes
    from dereflect.methods.contract import Method
    from dereflect.methods.downloads import Say
    from dereflect.methods.objective import Objective
    from dereflect.methods.options import MethodOptions


class Loader(Protocol):
    """What the module named by `Family.loader` (``method.py``) holds, as module-level functions.

    ``options`` is an instance of the family's own `MethodOptions`, already validated.
    """

    def recognises(self, checkpoint: Mapping[str, Any]) -> bool:
        """Whether a checkpoint's content (nested dict of tensors) is of this family; exact on keys."""
        ...

    def from_checkpoint(self, path: Path, checkpoint: Mapping[str, Any], options: Any) -> Method:
        """Build the method from a foreign (official) checkpoint that `recognises` has accepted."""
        ...

    def from_folder(self, folder: Path, config: Mapping[str, Any], options: Any) -> Method:
        """Build the method from our own format: ``config`` is the parsed ``config.json``."""
        ...

    def from_name(self, name: str, options: Any) -> Method:
        """Build one of the family's cards; weights that are neither embedded nor cached are an error."""
        ...


class Download(Protocol):
    """A family's own way to fetch its weights (`Family.download`)."""

    def __call__(
        self, name: str, yes: bool, sources: Mapping[str, str], say: Say, report: ReportBytes | None = None
    ) -> Path:
        """Fetch the weights of the card `name`, convert them if need be, and return where they are.

        Args:
            name: of the card.
            yes: the user's consent. Without it nothing is fetched: a ModelError says what would be, with
                size, source and licence.
            sources: parts that are on this machine already, as paths by name (``--set PART=PATH``).
            say, report: told what happens and how far each file is.
        """
        ...


@dataclass(frozen=True)
class Preparation:
    """A verb that makes, beforehand and resumably, what one objective's training needs."""

    objective: str
    """Name of the objective whose recipes it takes."""
    run: str
    """Reference to ``run(settings, folders, device, progress) -> Path``, where the result is."""
    help: str
    """What ``--help`` says: a first line, then perhaps a paragraph."""


@dataclass(frozen=True)
class Family:
    """One method: its model cards, and references to all it can do."""

    name: str
    """As in ``config.json`` (`Method.family`) and in `dereflect.catalog.FAMILIES`."""
    package: str
    """The method's own package, ``__package__``; references are relative to it."""
    cards: tuple[ModelCard, ...]
    loader: str = ".method"
    """Module that fulfils `Loader`."""
    options: str = "dereflect.methods.options:MethodOptions"
    """The `MethodOptions` of its ``--set`` settings; the base class for a method that has none."""
    recognises_folder: str = ""
    """``(folder: Path) -> bool`` for folders without our ``config.json``; "" if there are no such."""
    recognises_file: str = ""
    """``(path: Path) -> bool`` for files that are no checkpoints; "" if there are no such. They come to
    `Loader.from_checkpoint` unread, with an empty checkpoint."""
    traced: str = ""
    """``(method: Method, dtype: torch.dtype) -> torch.nn.Module``: what `dereflect export` writes, from
    (1, 3, H, W) float32 in [0, 1] to (transmission, reflection), computing in `dtype` by operators that ONNX
    knows, and sharing nothing with `method` that it changes; "" if there is none."""
    download: str = ""
    """A `Download`; "" if the cards' `ModelCard.files` say enough, or nothing can be fetched."""
    present: str = ""
    """``() -> bool``: are its weights on the disk; "" if they are where `download_files` keeps them."""
    objectives: Mapping[str, str] = field(default_factory=dict)
    """Objective classes by the names that recipes use."""
    verbs: Mapping[str, str] = field(default_factory=dict)
    """Own verbs of the command line: typer functions, in a module that imports nothing heavy at its top."""
    preparations: Mapping[str, Preparation] = field(default_factory=dict)
    """Own verbs that read a recipe."""

    def resolve(self, reference: str) -> Any:
        """Import what ``module:name`` (or ``module``) names."""
        module, _, name = reference.partition(":")
        found: Any = importlib.import_module(module, self.package)
        return getattr(found, name) if name else found

    def card(self, name: str) -> ModelCard:
        """One of the family's cards.

        Raises:
            ModelError: none of that name.
        """
        for card in self.cards:
            if card.name == name:
                return card
        raise ModelError(
            name, f"no model of {self.name}; one of {', '.join(card.name for card in self.cards)}"
        )

    def load(self) -> Loader:
        """Import the functions that build the method."""
        return cast(Loader, self.resolve(self.loader))

    def options_class(self) -> type[MethodOptions]:
        """Import the model of the settings."""
        return cast("type[MethodOptions]", self.resolve(self.options))

    def read_options(self, settings: Mapping[str, Any]) -> MethodOptions:
        """Validate settings, given as strings or as values.

        Raises:
            InputError: an unknown setting (the nearest is named), or a value of the wrong kind or range.
        """
        from dereflect.methods.options import unknown

        kind = self.options_class()
        for key in settings:
            if key not in kind.model_fields:
                hint = unknown(self.name, list(kind.model_fields), key)
                raise InputError(settings[key], hint, setting=key)
        return kind(**settings)

    def is_folder(self, folder: Path) -> bool:
        """Whether a folder without our ``config.json`` is of this family."""
        return bool(self.recognises_folder and self.resolve(self.recognises_folder)(folder))

    def is_file(self, path: Path) -> bool:
        """Whether a file that is no checkpoint is of this family."""
        return bool(self.recognises_file and self.resolve(self.recognises_file)(path))

    def is_here(self, name: str) -> bool:
        """Whether the weights of the card `name` are on the disk; nothing is fetched."""
        if self.present:
            return bool(self.resolve(self.present)())
        from dereflect.methods.downloads import is_here

        return is_here(self.card(name))

    def objective(self, name: str) -> type[Objective]:
        """Import the class of one of `objectives`."""
        return cast("type[Objective]", self.resolve(self.objectives[name]))

    def fetch(
        self, name: str, yes: bool, sources: Mapping[str, str], say: Say, report: ReportBytes | None = None
    ) -> Path:
        """Fetch the weights of the card `name`; see `Download`.

        Raises:
            ModelError: nothing to fetch, no consent, or a download that failed.
        """
        card = self.card(name)
        if self.download:
            return cast(Download, self.resolve(self.download))(name, yes, sources, say, report)
        if not card.files:
            raise ModelError(name, f"there is nothing to download; its weights: {card.weights}")
        from dereflect.methods.downloads import download_files

        return download_files(card, yes, sources, say, report)

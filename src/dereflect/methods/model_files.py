"""Models of a family in files: folders of ours, and checkpoints of their authors, given or fetched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from dereflect.downloads import ReportBytes
from dereflect.errors import ModelError
from dereflect.methods.card import ModelCard
from dereflect.methods.contract import Method
from dereflect.methods.downloads import Say, download_files, local_files
from dereflect.methods.options import MethodOptions
from dereflect.weights import cache_folder, read_checkpoint, read_config

MadeMethod = TypeVar("MadeMethod", bound=Method)
GivenOptions = TypeVar("GivenOptions", bound=MethodOptions)


@dataclass(frozen=True)
class ModelFiles(Generic[MadeMethod, GivenOptions]):
    """How the models of one family are read; the functions are those of `dereflect.methods.family.Loader`.

    Attributes:
        title: the family as papers write it.
        family: its name.
    """

    title: str
    family: str
    recognises: Callable[[Mapping[str, Any]], bool]
    from_checkpoint: Callable[[Path, Mapping[str, Any], GivenOptions], MadeMethod]
    from_folder: Callable[[Path, Mapping[str, Any], GivenOptions], MadeMethod]

    def read(self, path: Path, options: GivenOptions) -> MadeMethod:
        """Load a model folder or an official checkpoint, which must be of this family.

        Raises:
            ModelError: of another method.
        """
        if path.is_dir():
            family, config = read_config(path)
            if family != self.family:
                raise ModelError(path, f"is a model of '{family}', not of {self.title}")
            return self.from_folder(path, config, options)
        checkpoint = read_checkpoint(path)
        if not self.recognises(checkpoint):
            keys = ", ".join(list(checkpoint)[:5])
            raise ModelError(path, f"is not a checkpoint of {self.title} (its first keys: {keys})")
        return self.from_checkpoint(path, checkpoint, options)

    def read_published(self, card: ModelCard, weights: str | None, options: GivenOptions) -> MadeMethod:
        """The published model, from `weights` or from what ``dereflect models download`` kept.

        Raises:
            ModelError: it is not there (says what to fetch, from where, how large and under which licence).
        """
        if weights is not None:
            return self.read(Path(weights).expanduser(), options)
        converted = converted_folder(card)
        if (converted / "config.json").is_file():
            return self.read(converted, options)
        return self.read(local_files(card)["weights"], options)

    def download(
        self,
        card: ModelCard,
        options: GivenOptions,
        yes: bool,
        sources: Mapping[str, str],
        say: Say,
        report: ReportBytes | None = None,
    ) -> Path:
        """Fetch a card's checkpoint and convert it once; see `dereflect.methods.family.Download`.

        A checkpoint may hold the optimizer's state and networks of the loss: what a run needs is kept.
        """
        download_files(card, yes, sources, say, report)
        converted = converted_folder(card)
        say(f"converting to {converted}")
        self.read(local_files(card)["weights"], options).save_pretrained(converted)
        return converted


def converted_folder(card: ModelCard) -> Path:
    """Where a model is kept that was made of a checkpoint."""
    return cache_folder() / card.name / "model"

"""DSIT as the catalog builds it: from an official checkpoint, or from a folder of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from dereflect.downloads import ReportBytes
from dereflect.methods.checkpoints import StateDict, network_state
from dereflect.methods.contract import Method, Progress, Traits
from dereflect.methods.downloads import Say
from dereflect.methods.dsit.config import DSITConfig, config_from
from dereflect.methods.dsit.family import FAMILY
from dereflect.methods.dsit.fast.network import separate
from dereflect.methods.dsit.network import DSIT
from dereflect.methods.dsit.official import INDEX, MARKS, config_of, load_into
from dereflect.methods.model_files import ModelFiles
from dereflect.methods.options import MethodOptions
from dereflect.weights import read_checkpoint


class DSITOptions(MethodOptions):
    """The ``--set`` settings of DSIT."""

    weights: str | None = Field(
        None, description="a checkpoint or model folder to load instead of the downloaded one"
    )


class DSITMethod(Method):
    """Any DSIT. Separates by the fast form; in train mode by the plain one, through which gradients flow.

    Whole photos only: channel attention averages over all of it.
    """

    family = "dsit"
    traits = Traits(size_multiple=32, min_size=32, working_size=768, tileable=False, bytes_per_pixel=2600)

    def __init__(self, config: DSITConfig) -> None:
        super().__init__()
        self.config = config
        self.network = DSIT(config)

    def forward(
        self, blended: Tensor, *, generator: torch.Generator | None = None, progress: Progress | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `Method.forward`."""
        if self.training:
            transmission, reflection, _ = self.network(blended)
            return transmission, reflection
        transmission, reflection, _ = separate(self.network, blended.to(self.dtype))
        return transmission.float(), reflection.float()

    def saved_state(self) -> dict[str, Tensor]:
        """All but the index tables, which follow from the configuration."""
        return {key: value for key, value in self.state_dict().items() if not key.endswith(INDEX)}


def recognises(checkpoint: Mapping[str, Any]) -> bool:
    """Whether this is a DSIT in any of its files."""
    return bool(network_state(checkpoint, MARKS))


def from_checkpoint(path: Path, checkpoint: Mapping[str, Any], options: DSITOptions) -> DSITMethod:
    """Read an official checkpoint; its sizes are told by keys and shapes.

    Raises:
        ModelError: keys that do not fit; names the first five of each kind.
    """
    state = network_state(checkpoint, MARKS)
    return _built(config_of(state, str(path)), state, f"{path}: DSIT")


def from_folder(folder: Path, config: Mapping[str, Any], options: DSITOptions) -> DSITMethod:
    """Load what `save_pretrained` or the trainer wrote."""
    settings = config_from(config, str(folder / "config.json"))
    path = folder / "model.safetensors"
    state = {key.removeprefix("network."): value for key, value in read_checkpoint(path).items()}
    return _built(settings, state, str(path))


def from_name(name: str, options: DSITOptions) -> DSITMethod:
    """The published model, from the setting ``weights`` or from what ``dereflect models download`` kept.

    Raises:
        ModelError: it is not there (says what to fetch, from where, how large and under which licence).
    """
    return MODELS.read_published(FAMILY.card(name), options.weights, options)


def from_path(path: Path) -> DSITMethod:
    """Load a model folder or an official checkpoint, which must be of this family.

    Raises:
        ModelError: of another method.
    """
    return MODELS.read(path, DSITOptions())


def download(
    name: str, yes: bool, sources: Mapping[str, str], say: Say, report: ReportBytes | None = None
) -> Path:
    """Fetch the toolbox's checkpoint and convert it once; see `dereflect.methods.family.Download`.

    The checkpoint may hold the optimizer's state and the loss's VGG-19: the network alone is kept.
    """
    return MODELS.download(FAMILY.card(name), DSITOptions(), yes, sources, say, report)


def _built(config: DSITConfig, state: StateDict, source: str) -> DSITMethod:
    with torch.device("meta"):
        method = DSITMethod(config)
    load_into(method.network, state, source)
    return method.eval()


MODELS = ModelFiles("DSIT", DSITMethod.family, recognises, from_checkpoint, from_folder)

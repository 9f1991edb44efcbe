"""How DSIT is trained: the Swin prior is frozen, all else learns by one loss."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import nn

from dereflect.errors import ModelError, RecipeError
from dereflect.methods.dsit.config import config_from
from dereflect.methods.dsit.method import DSITMethod, from_path
from dereflect.methods.dsit.network import DSIT
from dereflect.methods.residual_objective import ResidualObjective
from dereflect.methods.residual_settings import Settings
from dereflect.nn.swin import Swin
from dereflect.strict import validated
from dereflect.weights import check_keys, read_checkpoint


class DSITSettings(Settings):
    """The settings of a recipe."""

    swin: str | None = Field(
        None,
        description="swin_large_o365_finetune.pth, the pretrained prior; without it, give start",
    )
    random_prior: bool = Field(False, description="train with an untrained Swin, for experiments only")


class DSITObjective(ResidualObjective):
    """Training of DSIT. The norms of the Swin's outputs, and the Swin itself, take no gradient."""

    settings: DSITSettings

    def __init__(self, settings: Mapping[str, Any], folders: Mapping[str, Path]) -> None:
        super().__init__(validated(DSITSettings, settings), folders)

    def fresh_network(self) -> nn.Module:
        """See `ResidualObjective.fresh_network`.

        Raises:
            RecipeError: no prior is given, or `start` is another network than the settings ask for.
            InputError, ModelError: a file that cannot be read, or keys that do not fit.
        """
        settings = self.settings
        try:
            config = config_from(settings.network, "settings.network")
        except ModelError as error:
            raise RecipeError(error.head(), error.rest()) from error
        if settings.start:
            method = from_path(Path(settings.start).expanduser())
            if method.config != config:
                raise RecipeError(
                    "settings.start", f"{settings.start} is another network than settings.network asks for"
                )
            return method.network.train()
        network = DSIT(config)
        if settings.swin:
            load_prior(network.swin_prior, settings.swin)
        elif not settings.random_prior:
            raise RecipeError(
                "settings.swin",
                "the prior is a pretrained Swin; give swin=swin_large_o365_finetune.pth, or "
                "start=CHECKPOINT of a whole DSIT, or random_prior=true",
            )
        return network.train()

    def export(self, folder: str) -> None:
        """Write the network trained so far, its prior included, as a folder that the catalog loads."""
        network = self.plain("separator")
        with torch.device("meta"):
            method = DSITMethod(network.config)
        method.network = network
        method.save_pretrained(folder)


def load_prior(swin: Swin, source: str) -> None:
    """Load the detector's backbone: ``backbone.*`` of its ``model`` dictionary.

    Raises:
        InputError, ModelError: a file that cannot be read, or keys that do not fit.
    """
    content = read_checkpoint(Path(source).expanduser())
    model = content.get("model", content)
    prefix = "backbone."
    state = {
        key.removeprefix(prefix): value for key, value in model.items() if key.startswith(prefix)
    } or dict(model)
    check_keys(swin.state_dict(), state, f"{source}: Swin")
    swin.load_state_dict(state)

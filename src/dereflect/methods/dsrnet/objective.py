"""How DSRNet is trained: one loss, on features of a frozen VGG-19."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dereflect.errors import ModelError, RecipeError
from dereflect.methods.dsrnet.config import config_from
from dereflect.methods.dsrnet.method import DSRNetMethod, DSRNetOptions, from_path
from dereflect.methods.dsrnet.network import DSRNet
from dereflect.methods.residual_objective import ResidualObjective
from dereflect.methods.residual_settings import Settings
from dereflect.nn.vgg import Vgg19, load_vgg19
from dereflect.strict import validated


class DSRNetObjective(ResidualObjective):
    """Training of DSRNet."""

    def __init__(self, settings: Mapping[str, Any], folders: Mapping[str, Path]) -> None:
        super().__init__(validated(Settings, settings), folders)
        self.helpers["features"] = load_vgg19(self.settings.vgg)

    def fresh_network(self) -> nn.Module:
        """See `ResidualObjective.fresh_network`.

        Raises:
            RecipeError: `start` is another network than the settings ask for.
            InputError, ModelError: a file that cannot be read, or keys that do not fit.
        """
        settings = self.settings
        try:
            config = config_from(settings.network, "settings.network")
        except ModelError as error:
            raise RecipeError(error.head(), error.rest()) from error
        if not settings.start:
            return DSRNet(config).train()
        method = from_path(Path(settings.start).expanduser(), DSRNetOptions(vgg="none"))
        if method.config != config:
            raise RecipeError(
                "settings.start", f"{settings.start} is another network than settings.network asks for"
            )
        return method.network.train()

    def separate(self, blended: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `ResidualObjective.separate`."""
        with torch.no_grad():
            levels = self.helpers["features"](blended)
        found: tuple[Tensor, Tensor, Tensor] = self.networks["separator"](blended, levels)
        return found

    def export(self, folder: str) -> None:
        """Write the network trained so far with its VGG-19, as a folder that the catalog loads."""
        network = self.plain("separator")
        features = self.helpers["features"]
        assert isinstance(features, Vgg19)
        with torch.device("meta"):
            method = DSRNetMethod(network.config, None)
        method.network, method.vgg = network, features
        method.save_pretrained(folder)

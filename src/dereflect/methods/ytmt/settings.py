"""Settings of YTMT's training (`settings:` in its recipes).

Every number of the paper's section 4, none with a default that a recipe does not show.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError

from dereflect.errors import ModelError, RecipeError
from dereflect.methods.ytmt.config import YtmtConfig, config_from
from dereflect.methods.ytmt.criteria import Criteria
from dereflect.strict import Strict, first_fault


class Optimiser(Strict):
    """Adam, the same for network and discriminator."""

    learning_rate: float = Field(gt=0)
    betas: tuple[float, float]
    weight_decay: float = Field(ge=0)


class Discriminator(Strict):
    """Who judges the transmission."""

    kind: Literal["vgg", "patch"]
    width: int = Field(64, ge=32, multiple_of=32)


class Data(Strict):
    """Where samples come from and how they are made."""

    photos: str = Field("photos", description="sub-folder of ordinary photos, where data is one folder")
    real: str = Field(
        "real", description="sub-folder with blended and transmission_layer, where data is one folder"
    )
    held_out_pairs: list[str] = Field(default_factory=list, description="stems of pairs never trained on")
    synthetic_share: float = Field(ge=0, le=1)
    crop: int = Field(gt=0)
    scale: tuple[int, int]
    flip: float = Field(ge=0, le=1)
    kernels: tuple[int, ...] = Field(description="sides of the blurring window")
    sigma: tuple[float, float]
    gamma: tuple[float, float]
    align: int = Field(ge=0, description="real pairs are resized to multiples of this first; 0: not")


class LossVariant(Strict):
    """Losses and learning-rate steps as the paper states them or as its code has them."""

    criteria: Criteria
    learning_rate_steps: dict[int, float] = Field(
        default_factory=dict, description="from this epoch on, this factor of the initial rate"
    )


class Settings(Strict):
    """All settings of the objective."""

    seed: int = 0
    network: dict[str, Any] = Field(description="fields of YtmtConfig, without stages")
    stage: Literal[1, 2]
    stage_one: str | None = Field(
        None, description="result of stage one: run folder, model folder or checkpoint"
    )
    vgg: str | None = Field(
        None, description="VGG-19 weights: file or folder; default: environment, then cache"
    )
    variant: Literal["code", "paper"]
    variants: dict[Literal["code", "paper"], LossVariant]
    optimiser: Optimiser
    discriminator: Discriminator
    data: Data

    @property
    def chosen(self) -> LossVariant:
        """The variant in force."""
        return self.variants[self.variant]

    @property
    def config(self) -> YtmtConfig:
        """The system to be trained."""
        try:
            return config_from({**self.network, "stages": self.stage}, "settings.network")
        except ModelError as error:
            raise RecipeError(error.subject, error.reason) from error


def read_settings(settings: Mapping[str, Any]) -> Settings:
    """Validate the settings of a recipe.

    Raises:
        RecipeError: an unknown key, a wrong type or an impossible combination; names the key and the remedy.
    """
    try:
        result = Settings.model_validate(settings)
    except ValidationError as error:
        raise RecipeError("settings", first_fault(error)) from error
    if result.variant not in result.variants:
        raise RecipeError(
            "settings.variant", f"'{result.variant}' is not among settings.variants; add it there"
        )
    if "stages" in result.network:
        raise RecipeError("settings.network.stages", "give settings.stage instead")
    if result.stage == 2 and not result.stage_one:
        raise RecipeError("settings.stage=2", "refines a result of stage one; give settings.stage_one=FOLDER")
    if result.stage == 1 and result.stage_one:
        raise RecipeError(
            "settings.stage_one", "is given, but settings.stage is 1; set settings.stage=2 or leave it out"
        )
    if result.config.image_channels != 3 or not result.config.squash:
        raise RecipeError(
            "settings.network",
            "separation trains on colour pictures in [0, 1]; image_channels=3, squash=true",
        )
    if result.data.crop < result.config.min_size:
        raise RecipeError(
            f"settings.data.crop={result.data.crop}", f"this network needs at least {result.config.min_size}"
        )
    return result

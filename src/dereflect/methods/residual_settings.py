"""Settings of the trainings of DSRNet and DSIT (`settings:` in their recipes); a recipe shows all."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from dereflect.data.augment import JointGeometry
from dereflect.data.synthesis.dsrnet import Ranges
from dereflect.errors import InputError, RecipeError
from dereflect.methods.residual_criteria import Criteria
from dereflect.strict import Strict

SourceName = Literal["synthetic", "real", "nature"]


class Optimiser(Strict):
    """Adam."""

    learning_rate: float = Field(gt=0)
    betas: tuple[float, float]
    weight_decay: float = Field(ge=0)
    steps: dict[int, float] = Field(
        default_factory=dict, description="from this epoch on, this factor of the rate"
    )


class Synthesis(Strict):
    """Ranges of the synthesis; see `dereflect.data.synthesis.dsrnet.Ranges`."""

    kernels: tuple[int, ...]
    kernel_shares: tuple[float, ...]
    sigma: tuple[float, float]
    transmission_weight: tuple[float, float]
    reflection_weight: tuple[float, float]
    screen_share: float = Field(ge=0, le=1)

    @property
    def ranges(self) -> Ranges:
        """As the rule takes them."""
        return Ranges(**self.model_dump())


class Data(Strict):
    """Where samples come from and how they are made."""

    photos: str = Field("photos", description="sub-folder of ordinary photos, where data is one folder")
    shares: dict[SourceName, float] = Field(
        description="share of each source, in the order they are offered; real and nature are also the names "
        "of their folders of pairs"
    )
    items: int | None = Field(gt=0, description="samples of an epoch; null: as many as all sources have")
    held_out_pairs: list[str] = Field(default_factory=list, description="stems of pairs never trained on")
    crop: int = Field(gt=0, multiple_of=32)
    scale: tuple[int, int] = Field(description="range of the shorter side before the crop")
    flip: float = Field(ge=0, le=1)
    rotate: float = Field(ge=0, le=1)
    align: int = Field(ge=0, description="real pairs are resized to multiples of this first; 0: not")
    synthetic_reflection: Literal["blurred", "difference"] = Field(
        description="the reflection's target of synthetic samples: as mirrored and blurred, or I - T"
    )
    real_reflection: Literal["signed", "clipped"] = Field(
        description="the reflection's target of real samples, I - T: as it is, or clipped to [0, 1]"
    )
    synthesis: Synthesis

    @model_validator(mode="after")
    def _sums_to_one(self) -> Data:
        if abs(sum(self.shares.values()) - 1) > 1e-6:
            raise ValueError("the shares must sum to 1")
        return self

    @property
    def geometry(self) -> JointGeometry:
        """The joint augmentation.

        Raises:
            RecipeError: crop and scale do not fit.
        """
        try:
            return JointGeometry(self.crop, self.scale, self.flip, self.rotate)
        except InputError as error:
            raise RecipeError("settings.data", str(error)) from error


class Settings(Strict):
    """All settings that both objectives have."""

    seed: int = 0
    network: dict[str, Any] = Field(description="fields of the network's configuration")
    start: str | None = Field(None, description="a whole network to start from: model folder or checkpoint")
    vgg: str | None = Field(
        None, description="VGG-19 weights: file or folder; default: environment, then cache"
    )
    criteria: Criteria
    optimiser: Optimiser
    data: Data

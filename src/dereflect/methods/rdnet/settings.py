"""Settings of RDNet's training (`settings:` in its recipes), all of which a recipe shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from dereflect.data.augment import JointGeometry
from dereflect.data.synthesis.rdnet import Bounds, Ranges
from dereflect.errors import InputError, ModelError, RecipeError
from dereflect.methods.rdnet.config import RDNetConfig, config_from
from dereflect.methods.rdnet.criteria import Criteria
from dereflect.methods.rdnet.network import SIZE_MULTIPLE
from dereflect.strict import Strict, validated


class Optimiser(Strict):
    """One optimizer with two rates."""

    kind: Literal["adamw", "adam"]
    learning_rate: float = Field(gt=0, description="of all but the backbone")
    backbone_rate: float = Field(gt=0)
    betas: tuple[float, float]
    eps: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    steps: dict[int, float] = Field(description="from this epoch on, this factor of both rates")


class Synthesis(Strict):
    """Ranges of the synthesis; see `dereflect.data.synthesis.rdnet.Ranges`."""

    kernels: tuple[int, ...]
    kernel_shares: tuple[float, ...]
    sigma: Bounds
    reflection_weight: Bounds
    gain_means: tuple[float, float, float]
    gain_deviations: tuple[float, float, float]
    gain_bounds: tuple[Bounds, Bounds, Bounds]
    screen_share: float = Field(ge=0, le=1)
    overflow_factor: float

    @property
    def ranges(self) -> Ranges:
        """As the rule takes them."""
        return Ranges(**self.model_dump())


class Data(Strict):
    """Where samples come from and how they are made."""

    photos: str = Field("photos", description="sub-folder of ordinary photos, where data is one folder")
    shares: dict[Literal["synthetic", "real", "nature"], float] = Field(
        description="share of each source; real and nature are also the names of their folders of pairs"
    )
    held_out_pairs: list[str] = Field(default_factory=list, description="stems of pairs never trained on")
    crop: int = Field(gt=0, multiple_of=SIZE_MULTIPLE)
    scale: tuple[int, int]
    flip: float = Field(ge=0, le=1)
    rotate: float = Field(ge=0, le=1)
    align: int = Field(ge=0, description="real pairs are resized to multiples of this first; 0: not")
    synthesis: Synthesis

    @property
    def geometry(self) -> JointGeometry:
        """The joint augmentation.

        Raises:
            RecipeError: crop and scale do not fit.
        """
        try:
            return JointGeometry(self.crop, self.scale, self.flip, self.rotate)
        except InputError as error:
            raise RecipeError("settings.data", f"{error}") from error


class Settings(Strict):
    """All settings of the objective."""

    seed: int = 0
    network: dict[str, Any] = Field(description="fields of RDNetConfig")
    initialisation: Literal["torch", "truncated_normal"] = Field(
        description="of columns, decoder and prompt: PyTorch's own, or a normal of deviation 0.02"
    )
    backbone: str | None = Field(None, description="focal.pth, the pretrained backbone to start from")
    classifier: str | None = Field(None, description="cls_model.pth, the classifier trained beforehand")
    start: str | None = Field(None, description="a whole RDNet to start from: model folder or checkpoint")
    vgg: str | None = Field(
        None, description="VGG-19 weights: file or folder; default: environment, then cache"
    )
    save_memory: bool = Field(description="whether columns are computed anew in the backward pass")
    criteria: Criteria
    optimiser: Optimiser
    data: Data

    @property
    def config(self) -> RDNetConfig:
        """The network to be trained."""
        try:
            return config_from(self.network, "settings.network")
        except ModelError as error:
            raise RecipeError(error.subject, error.reason) from error


def read_settings(settings: Mapping[str, Any]) -> Settings:
    """Validate the settings of a recipe.

    Raises:
        RecipeError: an unknown key, a wrong type or an impossible combination; names the key and the remedy.
    """
    result = validated(Settings, settings)
    columns = result.config.columns
    if len(result.criteria.columns) != columns:
        raise RecipeError("settings.criteria.columns", f"give {columns} weights, one for each column")
    if abs(sum(result.data.shares.values()) - 1) > 1e-6:
        raise RecipeError("settings.data.shares", "the shares must sum to 1")
    if result.start and (result.backbone or result.classifier):
        raise RecipeError("settings.start", "is a whole network; leave backbone and classifier out")
    if result.config.prompt != "none" and not (result.start or result.classifier):
        raise RecipeError(
            "settings.classifier",
            "the prompt needs the classifier, which is trained beforehand; give "
            "classifier=cls_model.pth, or start=CHECKPOINT of a whole RDNet, or network.prompt=none",
        )
    return result

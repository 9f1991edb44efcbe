"""Settings of the default model's training (`settings:` in its recipe)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from dereflect.data.glass import GlassMix
from dereflect.errors import RecipeError
from dereflect.strict import Strict, validated


def _names(value: Any) -> Any:
    return [] if value is None else [value] if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(_names)]
"""One name, several, or none (null)."""


class Settings(Strict):
    """Everything that the recipe of the default model may set beside the loop's schedule."""

    seed: int = 0
    photos: Names = Field(
        ["photos"], description="sub-folders of ordinary photos, the sources of both layers"
    )
    pairs: Names = Field([], description="sub-folders with blended and transmission_layer: real pairs")
    held_out_pairs: list[str] = Field(default_factory=list, description="stems of pairs never trained on")
    held_out_every: int = Field(
        20, description="photos whose name's CRC-32 is divisible by this are never trained on"
    )
    validate_on: Names = Field([], description="further sub-folders of pairs, only measured")
    validate_at_most: int = Field(30, gt=0, description="pictures of each set that are measured")
    validate_at: int = Field(512, gt=0, description="longer side at which pictures are measured")
    encoder_weights: Names = Field(
        [],
        description="safetensors of the encoders, in the network's order; default: the embedded ones",
    )
    start_from: str | None = Field(None, description="model folder whose weights to start from")
    network: dict[str, Any] = Field(default_factory=dict, description="of DefaultConfig")
    glass: dict[str, float] = Field(default_factory=dict, description="of dereflect.data.glass.GlassMix")

    short_side: int = Field(480, description="photos are held in memory at this shorter side at most")
    crop: int = Field(160, description="side of training crops, a multiple of 32")
    grow: dict[int, int] = Field(
        default_factory=dict,
        description="sample number: side of crops from there on; numbers are multiples of a step's samples",
    )
    crops_per_epoch: int = 20000
    real_share: float = Field(0.3, ge=0, le=1, description="share of crops from real pairs")
    real_strength: float = Field(
        0.0, ge=0, le=1, description="share of real crops whose reflection is made weaker or stronger"
    )
    residual_share: float = Field(
        0.15, ge=0, le=1, description="share of synthesis that mirrors a real pair's residual"
    )
    grey: float = Field(0.0, ge=0, le=1, description="share of crops that lose their colours, in all layers")

    learning_rate: float = 6e-4
    encoder_factor: float = Field(
        0.0, ge=0, description="learning rate of the encoders' stages relative to the rest; 0: frozen"
    )
    warm_up: int = 200
    final_factor: float = 0.02
    weight_decay: float = 1e-4

    pixel: float = Field(1.0, ge=0, description="weight of the transmission's absolute error")
    square: float = Field(2.0, ge=0, description="of its squared error")
    gradient: float = Field(1.0, ge=0, description="of its gradients' absolute error")
    logarithm: float = Field(
        0.0,
        ge=0,
        description="of the logarithm of each crop's squared error, which is its PSNR: faint reflections "
        "count as much as strong ones",
    )
    aligned: float = Field(
        0.0,
        ge=0,
        description="of the same logarithm for the transmission after the best gain and offset of each "
        "channel: separation apart from tone",
    )
    reflection: float = Field(0.5, ge=0, description="of the reflection's terms")
    real_reflection: float = Field(
        0.25, ge=0, description="of these on real pairs, whose reflection is an estimate"
    )
    exclusion: float = Field(0.0, ge=0, description="of edges that both layers have in common")
    tone: float = Field(
        0.0, ge=0, description="of the six numbers of global tone, where the network has them"
    )
    remainder: float = Field(0.0, ge=0, description="of I - T - R - N, where the network has a remainder")
    perceptual: float = Field(0.0, ge=0, description="of the transmission's features, as a judge sees them")
    judge: str | None = Field(
        None,
        description="safetensors of VGG-16 (scripts/convert_vgg16.py); default: the first encoder judges",
    )


def read_settings(settings: Mapping[str, Any]) -> Settings:
    """Validate the settings of a recipe.

    Raises:
        RecipeError: an unknown key, or a value of the wrong kind or range; names the key.
    """
    own = validated(Settings, settings)
    for side in (own.crop, *own.grow.values()):
        if side % 32:
            raise RecipeError("settings.crop", f"{side} is not a multiple of 32")
    try:
        GlassMix(**own.glass)
    except (TypeError, ValueError) as error:
        raise RecipeError("settings.glass", str(error)) from error
    return own

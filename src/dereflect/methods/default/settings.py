"""Settings of the default model's training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from dereflect.errors import RecipeError
from dereflect.strict import Strict, validated


class Settings(Strict):
    """Settings of the default model's training (`settings:` in its recipe)."""

    seed: int = 0
    photos: str = Field("photos", description="sub-folder of ordinary photos, the sources of both layers")
    pairs: str | None = Field(None, description="sub-folder with blended and transmission_layer: real pairs")
    held_out_pairs: list[str] = Field(default_factory=list, description="stems of pairs never trained on")
    held_out_every: int = Field(
        20, description="photos whose name's CRC-32 is divisible by this are never trained on"
    )
    validate_on: list[str] = Field(
        default_factory=list, description="further sub-folders of pairs, only measured"
    )
    validate_at_most: int = 30
    encoder_weights: str | None = Field(
        None, description="safetensors of the encoder; default: the embedded ones"
    )
    start_from: str | None = Field(None, description="model folder whose weights to start from")
    network: dict[str, Any] = Field(default_factory=dict)
    glass: dict[str, float] = Field(default_factory=dict)
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
    learning_rate: float = 6e-4
    encoder_factor: float = Field(
        0.0, ge=0, description="learning rate of the encoder's last stages relative to the rest; 0: frozen"
    )
    warm_up: int = 200
    final_factor: float = 0.02
    weight_decay: float = 1e-4
    pixel: float = 1.0
    square: float = 2.0
    gradient: float = 1.0
    logarithm: float = Field(
        0.0,
        ge=0,
        description="weight of the logarithm of each crop's squared error, which is its PSNR: faint "
        "reflections count as much as strong ones",
    )
    reflection: float = 0.5
    real_reflection: float = 0.25
    perceptual: float = 0.0


def read_settings(settings: Mapping[str, Any]) -> Settings:
    """Validate the settings of a recipe.

    Raises:
        RecipeError: an unknown key, or a value of the wrong kind or range; names the key.
    """
    own = validated(Settings, settings)
    for side in (own.crop, *own.grow.values()):
        if side % 32:
            raise RecipeError(f"settings.crop: {side} is not a multiple of 32")
    return own

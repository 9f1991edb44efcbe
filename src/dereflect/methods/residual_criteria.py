"""Losses of networks that give transmission, reflection and a residual: DSRNet, DSIT and their like.

Hu & Guo, "Single Image Reflection Separation via Component Synergy" (ICCV 2023), section 3.4: I = T + R + rr.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from dereflect.nn import losses
from dereflect.nn.vgg import LAST_CONVOLUTIONS, LEVEL_LAYERS, Vgg19

LayersAndResidual = tuple[Tensor, Tensor, Tensor]
"""Transmission, reflection and the residual that neither explains; their sum models the photo."""

TAPS = {"after_relu": LEVEL_LAYERS, "before_relu": LAST_CONVOLUTIONS}


class Criteria(BaseModel):
    """Weights of the loss; a weight of 0 leaves its term out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mse: float = Field(description="squared error of either layer")
    gradient: float = Field(description="absolute error of either layer's edges")
    perceptual: float = Field(description="VGG-19 features of the transmission")
    perceptual_layers: Literal["after_relu", "before_relu"] = Field(
        description="relu1_1 to relu5_1, or conv1_2, 2_2, 3_4, 4_4 and 5_4 before their rectifiers"
    )
    perceptual_levels: tuple[float, float, float, float, float] = Field(description="one a VGG-19 level")
    exclusion: float = Field(description="edges that both layers have")
    reconstruction: float = Field(description="T + R + residual against the photo")

    @property
    def vgg_taps(self) -> tuple[int, ...]:
        """Which layers the VGG-19 given to `terms` must have as its levels."""
        return TAPS[self.perceptual_layers]

    def terms(
        self, separated: tuple[Tensor, Tensor, Tensor], true: Mapping[str, Tensor], vgg: Vgg19 | None
    ) -> dict[str, Tensor]:
        """Every term, already weighted; their sum is the loss.

        Args:
            separated: transmission, reflection and residual, (B, 3, H, W) each, not clamped.
            true: ``transmission``, ``reflection`` and ``blended`` of the same shape.
            vgg: for the perceptual term.
        """
        T, R, residual = separated
        found = {
            "pixel_transmission": losses.pixel_loss(T, true["transmission"], self.mse, self.gradient),
            "pixel_reflection": losses.pixel_loss(R, true["reflection"], self.mse, self.gradient),
        }
        if self.perceptual and vgg is not None:
            distance = losses.perceptual_loss(vgg, T, true["transmission"], self.perceptual_levels)
            found["perceptual"] = self.perceptual * distance
        if self.exclusion:
            found["exclusion"] = self.exclusion * losses.exclusion_loss(T, R)
        if self.reconstruction:
            error = losses.reconstruction_loss(T + R, residual, true["blended"])
            found["reconstruction"] = self.reconstruction * error
        return found


RELU = (1 / 2.6, 1 / 4.8, 1 / 3.7, 1 / 5.6, 10 / 1.5)
CONVOLUTION = (0.3846, 0.2083, 0.2703, 0.1786, 6.6667)
PUBLISHED = {
    "dsit": Criteria(
        mse=0.3,
        gradient=0.6,
        perceptual=0.01,
        perceptual_layers="after_relu",
        perceptual_levels=RELU,
        exclusion=1,
        reconstruction=0.2,
    ),
}
PUBLISHED["dsrnet"] = PUBLISHED["dsit"]
PUBLISHED["dsrnet_xreflection"] = PUBLISHED["dsit"].model_copy(
    update={"perceptual_layers": "before_relu", "perceptual_levels": CONVOLUTION}
)
"""As DSIT was trained (both codes), DSRNet by its authors, and DSRNet by the toolbox XReflection."""

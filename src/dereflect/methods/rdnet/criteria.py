"""The losses that RDNet is trained with, in the forms of the toolbox and of the older code.

Every column's layers are judged, later columns with more weight. The toolbox compares only the transmission
in edges and in features; its reflection has a pixel loss alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from dereflect.methods.rdnet.network import TwoLayers
from dereflect.nn.losses import gradient_loss, perceptual_loss
from dereflect.nn.vgg import LAST_CONVOLUTIONS, LEVEL_LAYERS, Vgg19

PerceptualLayers = Literal["before_relu", "after_relu"]


@dataclass(frozen=True)
class Criteria:
    """Weights of all terms; the defaults are the toolbox's."""

    transmission_mse: float = 1.0
    transmission_gradient: float = 1.0
    reflection_mse: float = 1.0
    reflection_gradient: float = 0.0
    perceptual: float = 1.0
    """Of the distance in VGG-19 features, transmission only."""
    perceptual_layers: PerceptualLayers = "before_relu"
    """conv1_2, 2_2, 3_4, 4_4, 5_4 before their rectifiers, or relu1_1 to relu5_1."""
    perceptual_levels: tuple[float, ...] = (0.1, 0.1, 1.0, 1.0, 1.0)
    columns: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    """Weight of each column's layers, first column first."""

    @property
    def vgg_taps(self) -> tuple[int, ...]:
        """Which layers the VGG-19 given to `terms` must have as its levels."""
        return LAST_CONVOLUTIONS if self.perceptual_layers == "before_relu" else LEVEL_LAYERS

    def terms(self, layers: TwoLayers, targets: TwoLayers, vgg: Vgg19 | None) -> dict[str, Tensor]:
        """The weighted terms of one column's layers against the true ones, as scalars.

        Args:
            layers: transmission and reflection, (B, 3, H, W) each, not clamped.
            targets: the same; the reflection is signed, the transmission may exceed 1.
            vgg: needed where `perceptual` is not 0.

        Raises:
            ValueError: a VGG-19 is needed.
        """
        (transmission, reflection), (clear, mirrored) = layers, targets
        found = {
            "transmission": self.transmission_mse * F.mse_loss(transmission, clear),
            "reflection": self.reflection_mse * F.mse_loss(reflection, mirrored),
        }
        if self.perceptual:
            if vgg is None:
                raise ValueError("the perceptual term needs a VGG-19")
            distance = perceptual_loss(vgg, transmission, clear, self.perceptual_levels)
            found["perceptual"] = self.perceptual * distance
        if self.transmission_gradient:
            found["gradient"] = self.transmission_gradient * gradient_loss(transmission, clear)
        if self.reflection_gradient:
            found["reflection_gradient"] = self.reflection_gradient * gradient_loss(reflection, mirrored)
        return found

    def sums(self, outputs: Sequence[TwoLayers], targets: TwoLayers, vgg: Vgg19 | None) -> dict[str, Tensor]:
        """Each term summed over the columns with their weights; their sum is the loss."""
        columns = [self.terms(layers, targets, vgg) for layers in outputs]
        return {
            name: torch.stack(
                [weight * terms[name] for weight, terms in zip(self.columns, columns, strict=True)]
            ).sum()
            for name in columns[0]
        }


NAMED = {
    "toolbox": Criteria(),
    "older": Criteria(
        transmission_mse=0.3,
        transmission_gradient=0.6,
        reflection_mse=0.45,
        reflection_gradient=0.9,
        perceptual=0.1,
        perceptual_layers="after_relu",
        perceptual_levels=(1 / 2.6, 1 / 4.8, 1 / 3.7, 1 / 5.6, 10 / 1.5),
    ),
}
"""The published trainings: of the toolbox, and of the older code (its other terms have no effect)."""

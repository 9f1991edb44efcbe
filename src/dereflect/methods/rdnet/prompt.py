"""Prompt: factors that a small network finds for the channels of the stem (paper section 3.3).

A ConvNeXt that was trained beforehand and stays frozen looks at a copy of the photo of 224x224 pixels. Its
six numbers are the scale and offset of each colour in an affine model of the glass; they are used as a vector
only and never applied to the photo. Module names follow the published checkpoint.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dereflect.methods.rdnet.config import RDNetConfig
from dereflect.nn.convnext import ConvNeXt, ConvNeXtConfig

CLASSIFIER_SIDE = 224
NUMBERS = 6
"""Scales of R, G, B, then offsets of R, G, B."""


class StarReLU(nn.Module):
    """scale * max(v, 0)^2 + bias, with two learned scalars (Yu et al., "MetaFormer Baselines", 2022)."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, v: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return self.scale * F.relu(v).square() + self.bias


class Classifier(nn.Module):
    """Six numbers of a photo, or the feature map from which they come. Frozen, always in eval mode.

    Args:
        config: size of the ConvNeXt.
        numbers: whether there is a layer that makes six numbers.
    """

    def __init__(self, config: ConvNeXtConfig, numbers: bool = True) -> None:
        super().__init__()
        self.model = ConvNeXt(config)
        if numbers:
            self.head = nn.Linear(config.widths[-1], NUMBERS)
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> Classifier:
        """Stays in eval mode whatever the network around it does."""
        return super().train(False)

    @torch.no_grad()
    def features(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to (B, C, 7, 7): of a resized copy, its aspect ratio not kept."""
        return self.model(smaller_copy(image))

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to (B, 6)."""
        return self.head(self.model.pooled(self.features(image)))


def smaller_copy(image: Tensor) -> Tensor:
    """(B, C, H, W) to (B, C, 224, 224): bilinear, corners on corners, without antialiasing."""
    return F.interpolate(image, (CLASSIFIER_SIDE, CLASSIFIER_SIDE), mode="bilinear", align_corners=True)


def prompt_layers(config: RDNetConfig) -> nn.Sequential:
    """The layers from the classifier's answer to factors, one a channel of the stem."""
    first, hidden, last = config.classifier_widths[-1], config.prompt_width, config.channels[0]
    if config.prompt == "map":
        return nn.Sequential(nn.Conv2d(first, hidden, 1), StarReLU(), nn.Conv2d(hidden, last, 1))
    return nn.Sequential(nn.Linear(NUMBERS, hidden), StarReLU(), nn.Linear(hidden, last), StarReLU())

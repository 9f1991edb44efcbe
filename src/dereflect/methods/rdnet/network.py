"""RDNet, "Reversible Decoupling Network for Single Image Reflection Removal" (CVPR 2025, arXiv 2410.08063).

    photo --> FocalNet --> start states c0..c3 --> column --> column --> column --> column
      |          |                                   ^  |
      |          stem * factors = x -----------------+  +--> decoder: what to take off the photo
      +--> classifier --> prompt --> factors

This is the plain form. Module names follow the published checkpoint (``baseball`` is the backbone).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dereflect.methods.rdnet.column import Column, States
from dereflect.methods.rdnet.config import RDNetConfig
from dereflect.methods.rdnet.decoder import Decoder
from dereflect.methods.rdnet.prompt import Classifier, prompt_layers
from dereflect.methods.rdnet.reversible import reversible
from dereflect.nn.focalnet import FocalNet

SIZE_MULTIPLE = 16
"""Height and width of a photo must be multiples of this."""

TwoLayers = tuple[Tensor, Tensor]
"""Transmission and reflection, (B, 3, H, W) each, not clamped; they need not add up to the photo."""


class RDNet(nn.Module):
    """The whole network, its frozen classifier included."""

    def __init__(self, config: RDNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or RDNetConfig()
        for number in range(config.columns):
            self.add_module(f"subnet{number}", Column(config.channels, config.blocks, first=number == 0))
        self.decoder_blocks = Decoder(config.channels)
        if config.prompt != "none":
            self.prompt = prompt_layers(config)
        widths = config.backbone.widths
        sizes = zip((widths[0], *widths), (config.channels[0], *config.channels), strict=True)
        self.baseball_adapter = nn.ModuleList(nn.Conv2d(wide, narrow, 1) for wide, narrow in sizes)
        self.baseball = FocalNet(config.backbone)
        if config.prompt != "none":
            self.classifier = Classifier(config.classifier, numbers=config.prompt == "numbers")

    def columns(self) -> list[Column]:
        """The columns in order."""
        found = (self.get_submodule(f"subnet{number}") for number in range(self.config.columns))
        return [column for column in found if isinstance(column, Column)]

    def forward(self, image: Tensor, save_memory: bool = False) -> list[TwoLayers]:
        """What every column makes of a photo; the last one's layers are the result.

        Args:
            image: (B, 3, H, W) in [0, 1], H and W multiples of 16.
            save_memory: keep no activations of the columns for the backward pass (see `reversible`).
        """
        x, states = self._beginning(image)
        layers = []
        for column in self.columns():
            states = reversible(column, x, states) if save_memory else column(x, states)
            layers.append(self.decode(image, states))
        return layers

    def separate(self, image: Tensor) -> TwoLayers:
        """The last column's layers alone: the decoder runs once; see `forward`."""
        x, states = self._beginning(image)
        for column in self.columns():
            states = column(x, states)
        return self.decode(image, states)

    def _beginning(self, image: Tensor) -> tuple[Tensor, States]:
        stem, states = self.start(image)
        return self.prompted(image, stem), states

    def start(self, image: Tensor) -> tuple[Tensor, States]:
        """The stem (B, C_0, H / 2, W / 2) and the states that the first column gets."""
        maps = [adapter(m) for adapter, m in zip(self.baseball_adapter, self.baseball(image), strict=True)]
        stem, c0, c1, c2, c3 = maps
        return stem, (c0, c1, c2, c3)

    def prompted(self, image: Tensor, stem: Tensor) -> Tensor:
        """x, which enters every column: the stem with each channel scaled by the prompt's factor."""
        factors = self.factors(image)
        return stem if factors is None else factors * stem

    def factors(self, image: Tensor) -> Tensor | None:
        """(B, C_0, 1, 1) or, for a map, (B, C_0, H / 2, W / 2); None without a prompt."""
        if self.config.prompt == "none":
            return None
        if self.config.prompt == "numbers":
            return self.prompt(self.classifier(image))[:, :, None, None]
        features = self.classifier.features(image)
        return self.prompt(at_half_size(features, image))

    def decode(self, image: Tensor, states: Sequence[Tensor]) -> TwoLayers:
        """The two layers that a column's states stand for: the photo less what the decoder finds."""
        first, second = (torch.cat([image, image], 1) - self.decoder_blocks(states)).chunk(2, dim=1)
        return (first, second) if self.config.order == "transmission_first" else (second, first)


def at_half_size(features: Tensor, image: Tensor) -> Tensor:
    """(B, C, h, w) to (B, C, H // 2, W // 2) for an image of (H, W): bilinear, corners on corners."""
    size = image.shape[2] // 2, image.shape[3] // 2
    return F.interpolate(features, size, mode="bilinear", align_corners=True)

"""What a YTMT network is trained to reach: the terms of its loss, with every weight given from outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from dereflect.nn import losses
from dereflect.nn.vgg import Vgg19

Layer = Literal["transmission", "reflection"]


class Criteria(BaseModel):
    """Weights and forms of the loss (paper section 3.3); a weight of 0 leaves its term out."""

    model_config = ConfigDict(extra="forbid")

    transmission_mse: float
    transmission_gradient: float
    reflection_mse: float
    reflection_gradient: float
    reconstruction: float
    perceptual_transmission: float
    perceptual_reflection: float
    perceptual_levels: tuple[float, float, float, float, float] = Field(description="one a VGG-19 level")
    exclusion: float
    exclusion_form: Literal["code", "paper"]
    exclusion_levels: int = Field(gt=0)
    adversarial: float = Field(description="factor of the generator's and of the discriminator's loss")
    adversarial_kind: Literal["sgan", "rsgan", "rasgan"]
    adversarial_from_epoch: int = Field(ge=0, description="first epoch with the adversary")
    fakes: list[Layer] = Field(
        min_length=1, description="layers shown to the discriminator as made; the smaller loss is its loss"
    )

    @property
    def perceptual(self) -> bool:
        """Whether any term needs VGG-19."""
        return bool(self.perceptual_transmission or self.perceptual_reflection)

    def generator_terms(
        self, made: Mapping[Layer, Tensor], true: Mapping[str, Tensor], vgg: Vgg19 | None
    ) -> dict[str, Tensor]:
        """Every term but the adversarial one, each already weighted; their sum is the loss.

        Args:
            made: the network's layers, (B, C, H, W) each.
            true: ``transmission``, ``reflection`` and ``blended`` of the same shape.
            vgg: for the perceptual terms.
        """
        T, R = made["transmission"], made["reflection"]
        true_T, true_R = true["transmission"], true["reflection"]
        terms = {
            "pixel_transmission": losses.pixel_loss(
                T, true_T, self.transmission_mse, self.transmission_gradient
            ),
            "pixel_reflection": losses.pixel_loss(R, true_R, self.reflection_mse, self.reflection_gradient),
        }
        if self.reconstruction:
            terms["reconstruction"] = self.reconstruction * losses.reconstruction_loss(T, R, true["blended"])
        if self.exclusion:
            form = losses.exclusion_loss if self.exclusion_form == "code" else losses.exclusion_loss_of_paper
            terms["exclusion"] = self.exclusion * form(T, R, levels=self.exclusion_levels)
        if vgg is not None:
            for name, weight, image, target in (
                ("perceptual_transmission", self.perceptual_transmission, T, true_T),
                ("perceptual_reflection", self.perceptual_reflection, R, true_R),
            ):
                if weight:
                    terms[name] = weight * losses.perceptual_loss(vgg, image, target, self.perceptual_levels)
        return terms

    def adversarial_term(
        self, judge: nn.Module, made: Mapping[Layer, Tensor], true: Mapping[str, Tensor]
    ) -> Tensor:
        """Weighted loss of the transmission for not fooling `judge`.

        Only the made picture gets a gradient.
        """
        with torch.no_grad():
            real = judge(true["transmission"])
        fake = judge(made["transmission"])
        return self.adversarial * losses.generator_loss(self.adversarial_kind, real, fake)

    def discriminator_term(
        self, judge: nn.Module, made: Mapping[Layer, Tensor], true: Mapping[str, Tensor]
    ) -> Tensor:
        """The discriminator's loss, weighted: of the layers in `fakes`, the one that gives the smaller loss.

        All pictures go through `judge` in one call, as its wrapper for several processes wants it; no norm in
        it mixes pictures.
        """
        pictures = [true["transmission"], *(made[layer].detach() for layer in self.fakes)]
        real, *fakes = judge(torch.cat(pictures)).chunk(len(pictures))
        options = [losses.discriminator_loss(self.adversarial_kind, real, fake) for fake in fakes]
        return self.adversarial * torch.stack(options).min()

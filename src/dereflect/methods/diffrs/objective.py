"""The three trainings of DiffRS (arXiv 2606.04107): UNet, synthesis network, fusion.

The release has none of them.

What the paper gives are the losses; the rest follows Marigold (arXiv 2312.02145) and StableSR (arXiv
2305.07015). Recipes: diffrs_unet, diffrs_synthesis and diffrs_fgfm, where every value has its source.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import Field, ValidationError
from torch import Tensor

from dereflect.data.folders import whole_folder
from dereflect.errors import InputError, ModelError, RecipeError
from dereflect.methods.diffrs.attention import install_joint_attention, joint_attention
from dereflect.methods.diffrs.autoencoder import encode
from dereflect.methods.diffrs.noise import multi_resolution_noise
from dereflect.methods.diffrs.sampling import clean_estimate
from dereflect.methods.diffrs.starting_point import ClassStart, starting_pipeline
from dereflect.methods.diffrs.training_crops import CropSettings, LayerCrops
from dereflect.methods.diffrs.validation import Validation, ValidationSettings
from dereflect.methods.objective import Batch, Moment, Objective, Turn
from dereflect.strict import first_fault


class PartSettings(CropSettings):
    """What the trainings share."""

    model: str = Field(description="folder of a DiffRS pipeline, or of Stable Diffusion 2.1, to start from")
    learning_rate: float = Field(gt=0)
    validation: ValidationSettings = Field(default_factory=lambda: ValidationSettings.model_validate({}))


class UNetSettings(PartSettings):
    """Settings of the diffusion fine-tune."""

    learning_rate: float = Field(3e-5, gt=0)
    warm_up: int = Field(100, ge=0)
    decay_steps: int = Field(25000, gt=0, description="step at which the rate has fallen to `final_factor`")
    final_factor: float = Field(0.01, gt=0, le=1)
    multi_resolution: float = Field(
        0.9, ge=0, lt=1, description="strength of multi-resolution noise, 0 for plain"
    )
    annealed: bool = Field(True, description="whether that strength goes with the timestep")
    attention: bool = Field(True, description="whether the layers see each other in self-attention")
    class_start: ClassStart = "zero"
    checkpointing: bool = Field(
        False, description="recompute activations in the backward pass, to save memory"
    )


class SynthesisSettings(PartSettings):
    """Settings of the synthesis network's training."""

    learning_rate: float = Field(1e-4, gt=0)
    estimate_share: float = Field(
        0.0, ge=0, le=1, description="share of steps whose inputs are the UNet's estimates, not true latents"
    )


S = TypeVar("S", bound=CropSettings)


def read_settings(kind: type[S], settings: Mapping[str, Any]) -> S:
    """Validate a recipe's settings.

    Raises:
        RecipeError: names the first key at fault.
    """
    try:
        return kind.model_validate(dict(settings))
    except ValidationError as error:
        raise RecipeError("settings", first_fault(error)) from error


class PartObjective(Objective):
    """Base of the trainings of one part: the pipeline, its crops, its validation and its export."""

    def __init__(self, settings: PartSettings, folders: Mapping[str, Path], part: str) -> None:
        super().__init__()
        self.part, self.averaged = part, part
        self.folder = whole_folder(folders)
        try:
            self.pipeline = starting_pipeline(
                Path(settings.model).expanduser(), getattr(settings, "class_start", "zero")
            )
        except (ModelError, InputError) as error:
            raise RecipeError("settings.model", str(error)) from error
        self.pipeline.set_progress_bar_config(disable=True)
        for name, component in self.pipeline.components.items():
            if isinstance(component, torch.nn.Module) and name != part:
                self.helpers[name] = component
        self.validation = Validation(settings.validation)

    def latents(self, *pictures: Tensor) -> list[Tensor]:
        """Scaled mean latents of pictures (B, 3, H, W) in [0, 1], as the sampler will see them."""
        with torch.no_grad():
            return [encode(self.helpers["vae"], picture * 2 - 1, features=False)[0] for picture in pictures]

    def trained_pipeline(self) -> Any:
        """The pipeline with the trained network in its plain form."""
        self.pipeline.register_modules(**{self.part: self.plain(self.part)})
        return self.pipeline

    def validate(self) -> dict[str, float]:
        """Mean PSNR of both layers on held-out crops, beside the untouched input; see `Validation`."""
        network = self.plain(self.part)
        training = network.training
        network.eval()
        try:
            return self.validation.run(self.trained_pipeline(), self.validation_samples())
        finally:
            network.train(training)

    def pictures(self) -> dict[str, Tensor]:
        """What `validate` last separated, for TensorBoard: photo, layers found, true layers side by side."""
        return {f"crop_{index}": row for index, row in enumerate(self.validation.rows)}

    def validation_samples(self) -> LayerCrops | None:
        """Held-out crops, drawn the same way; None where nothing is to be validated."""
        raise NotImplementedError

    def export(self, folder: str) -> None:
        """Write the whole pipeline, ready for ``dereflect separate --model``, and the validation pictures."""
        self.trained_pipeline().save_pretrained(folder)
        self.validation.write(Path(folder))


class CropObjective(PartObjective):
    """A part that is trained on crops."""

    settings: PartSettings

    def __init__(self, settings: PartSettings, folders: Mapping[str, Path], part: str) -> None:
        super().__init__(settings, folders, part)
        self.settings = settings
        try:
            self.samples = LayerCrops(settings, self.folder)
        except InputError as error:
            raise RecipeError(error.head(), error.rest()) from error

    def validation_samples(self) -> LayerCrops | None:
        """Crops of the photos that training never sees."""
        if not self.settings.validation.pictures:
            return None
        samples = LayerCrops(self.settings, self.folder, validation=True)
        return samples if samples.photos else None


class UNetObjective(CropObjective):
    """Denoise both layers together: L2 on the v-prediction.

    A picture has one timestep and two independent noises.
    """

    def __init__(self, settings: Mapping[str, Any], folders: Mapping[str, Path]) -> None:
        self.own = read_settings(UNetSettings, settings)
        super().__init__(self.own, folders, "unet")
        unet = self.pipeline.unet.train().requires_grad_(True)
        if self.own.attention:
            install_joint_attention(unet)
        if self.own.checkpointing:
            unet.enable_gradient_checkpointing()
        self.validation.attention = self.own.attention
        self.networks["unet"] = unet
        self.optimizers["unet"] = torch.optim.Adam(unet.parameters(), self.own.learning_rate)

    def learning_rate(self, name: str, moment: Moment) -> float:
        """Linear warm-up, then exponential."""
        own = self.own
        factor = warm_exponential(moment.step, own.decay_steps, own.final_factor, own.warm_up)
        return own.learning_rate * factor

    def turns(self, batch: Batch, moment: Moment) -> Iterator[Turn]:
        """One turn: the UNet."""
        z_i, z_t, z_r = self.latents(batch["blended"], batch["transmission"], batch["reflection"])
        clean, timesteps = torch.cat([z_t, z_r]), draw_timesteps(self.pipeline.scheduler, z_i)
        noise = self._noise(clean.shape, timesteps)
        noisy, alpha = add_noise(self.pipeline.scheduler, clean, noise, timesteps)
        target = alpha.sqrt() * noise - (1 - alpha).sqrt() * clean  # v
        found = predict(self.networks["unet"], self.helpers["prompts"], z_i, noisy, timesteps)
        error = (found.float() - target).square().flatten(1).mean(dim=1)
        known = torch.cat([torch.ones_like(batch["known"]), batch["known"]]).view(-1)
        loss = (error * known).sum() / known.sum()
        t, r = error.detach().chunk(2)
        yield Turn("unet", loss, {"transmission": t.mean(), "reflection": r.mean()})

    def _noise(self, shape: torch.Size, timesteps: Tensor) -> Tensor:
        strength: float | Tensor = self.own.multi_resolution
        if not strength:
            return torch.randn(shape, device=timesteps.device)
        if self.own.annealed:
            strength = strength * timesteps / self.pipeline.scheduler.config.num_train_timesteps
        half = shape[0] // 2
        parts = [
            multi_resolution_noise(
                (half, shape[1], shape[2], shape[3]),
                strength[:half] if isinstance(strength, Tensor) else strength,
                device=timesteps.device,
            )
            for _ in range(2)
        ]
        return torch.cat(parts)


class SynthesisObjective(CropObjective):
    """The latent of a mixture from those of its layers: mean squared error.

    The layers' latents are true ones or the UNet's estimates.
    """

    def __init__(self, settings: Mapping[str, Any], folders: Mapping[str, Path]) -> None:
        self.own = read_settings(SynthesisSettings, settings)
        super().__init__(self.own, folders, "synthesis")
        if self.own.real_share and self.own.pair_reflection == "none":
            raise RecipeError(
                "settings.pair_reflection", "the synthesis network needs a reflection; give residual"
            )
        network = self.pipeline.synthesis.train().requires_grad_(True)
        self.networks["synthesis"] = network
        self.optimizers["synthesis"] = torch.optim.Adam(network.parameters(), self.own.learning_rate)

    def turns(self, batch: Batch, moment: Moment) -> Iterator[Turn]:
        """One turn: the synthesis network."""
        z_i, z_t, z_r = self.latents(batch["blended"], batch["transmission"], batch["reflection"])
        if self.own.estimate_share and float(torch.rand(())) < self.own.estimate_share:
            z_t, z_r = self._estimates(z_i, z_t, z_r)
        loss = (self.networks["synthesis"](z_t, z_r) - z_i).square().mean()
        yield Turn("synthesis", loss, {"loss": loss.detach()})

    @torch.no_grad()
    def _estimates(self, z_i: Tensor, z_t: Tensor, z_r: Tensor) -> tuple[Tensor, Tensor]:
        """The sampler's blurry estimates of the clean latents at a random step."""
        clean, timesteps = torch.cat([z_t, z_r]), draw_timesteps(self.pipeline.scheduler, z_i)
        noisy, alpha = add_noise(self.pipeline.scheduler, clean, torch.randn_like(clean), timesteps)
        unet: Any = self.helpers["unet"]
        with joint_attention(unet):
            v = predict(unet, self.helpers["prompts"], z_i, noisy, timesteps)
        t, r = clean_estimate(noisy, v, alpha).chunk(2)
        return t, r


def draw_timesteps(scheduler: Any, z_i: Tensor) -> Tensor:
    """One uniform timestep a picture, (2B,): the same for both of its layers."""
    steps = scheduler.config.num_train_timesteps
    return torch.randint(0, steps, (z_i.shape[0],), device=z_i.device).repeat(2)


def add_noise(scheduler: Any, clean: Tensor, noise: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """The latents at `timesteps`, and the cumulative alphas there as (2B, 1, 1, 1)."""
    alpha = scheduler.alphas_cumprod.to(clean.device)[timesteps].view(-1, 1, 1, 1)
    return alpha.sqrt() * clean + (1 - alpha).sqrt() * noise, alpha


def predict(unet: Any, prompts: Any, z_i: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
    """The UNet's v-prediction for both layers: (2B, 4, h, w), transmissions first."""
    pictures = z_i.shape[0]
    labels = torch.arange(2, device=z_i.device).repeat_interleave(pictures)
    sample = torch.cat([z_i.repeat(2, 1, 1, 1), noisy], dim=1)
    return unet(sample, timesteps, prompts(pictures), class_labels=labels, return_dict=False)[0]


def warm_exponential(step: int, total: int = 25000, final: float = 0.01, warmup: int = 100) -> float:
    """Factor of the learning rate: linear up to step `warmup`, then exponential down to `final` at `total`.

    Marigold's (arXiv 2312.02145), whose recipe DiffRS builds on.
    """
    if step < warmup:
        return step / warmup
    if step >= total:
        return final
    return math.exp(math.log(final) * (step - warmup) / (total - warmup))

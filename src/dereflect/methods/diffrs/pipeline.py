"""The DiffRS pipeline: one fine-tuned latent diffusion model generates both layers of a picture together.

"Reflection Separation from a Single Image via Joint Latent Diffusion" (CVPR 2026, arXiv 2606.04107). The
result is that of the released code; the work is a third: one UNet evaluation a step, and no pass backwards
through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, LCMScheduler, UNet2DConditionModel
from diffusers.utils import BaseOutput
from torch import Tensor

from dereflect.errors import InputError, ModelError
from dereflect.methods.diffrs.attention import joint_attention
from dereflect.methods.diffrs.autoencoder import decode, encode
from dereflect.methods.diffrs.fusion import FidelityFusion
from dereflect.methods.diffrs.noise import Generators, draw_noise
from dereflect.methods.diffrs.optimisation import LatentOptimisation, optimise_latents
from dereflect.methods.diffrs.pictures import (
    OutputType,
    deliver,
    read_pictures,
    to_size,
    to_unit,
    to_working,
    working_size,
)
from dereflect.methods.diffrs.prompts import PromptEmbeddings
from dereflect.methods.diffrs.sampling import disjoint
from dereflect.methods.diffrs.settings import DiffRSSettings
from dereflect.methods.diffrs.synthesis import LatentSynthesis

LAYERS = ("transmission", "reflection", "unrefined_transmission", "mixture")
"""What can be decoded; the last two on request only."""

StepEnd = Callable[[Any, int, int, dict[str, Any]], dict[str, Any] | None]


@dataclass
class DiffRSOutput(BaseOutput):
    """Layers of each picture at its own size, in the kind asked for; None where not asked for.

    `latents_transmission` and `latents_reflection` are the final scaled latents (B, 4, h, w), of the last
    member of an ensemble.
    """

    transmission: Any = None
    reflection: Any = None
    unrefined_transmission: Any = None
    mixture: Any = None
    latents_transmission: Tensor | None = None
    latents_reflection: Tensor | None = None


class DiffRSPipeline(DiffusionPipeline):
    """Separate pictures into transmission and reflection.

    Args:
        unet: Stable Diffusion 2.1's, with 8 input channels and two classes.
        vae: its autoencoder.
        synthesis: the learned latent synthesis network, always float32.
        prompts: embeddings of the two prompts.
        scheduler: DDIM or LCM, for v-prediction.
        fusion: fusion blocks of the decoder; without them only ``w=0`` can be run.
    """

    # The autoencoder brings the UNet off the device when it decodes; the rest is small and stays.
    model_cpu_offload_seq = "unet->vae"
    _exclude_from_cpu_offload = ["fusion", "synthesis", "prompts"]  # noqa: RUF012
    _optional_components = ["fusion"]  # noqa: RUF012
    _callback_tensor_inputs = ["latents", "prediction", "optimised"]  # noqa: RUF012

    def __init__(
        self,
        unet: UNet2DConditionModel,
        vae: AutoencoderKL,
        synthesis: LatentSynthesis,
        prompts: PromptEmbeddings,
        scheduler: DDIMScheduler | LCMScheduler,
        fusion: FidelityFusion | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            unet=unet, vae=vae, synthesis=synthesis, prompts=prompts, scheduler=scheduler, fusion=fusion
        )
        check_parts(self)

    def __call__(
        self,
        image: Any,
        num_inference_steps: int = 50,
        resolution: int = 960,
        *,
        settings: DiffRSSettings | None = None,
        generator: Generators = None,
        noise: tuple[Tensor, Tensor] | None = None,
        layers: Sequence[str] = LAYERS[:2],
        output_type: OutputType = "pil",
        return_dict: bool = True,
        callback_on_step_end: StepEnd | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> DiffRSOutput | tuple[Any, ...]:
        """Separate one picture or several.

        Args:
            image: a PIL image, a (H, W, 3) array, a (3, H, W) or (B, 3, H, W) tensor, or a list of them;
                floats are in [0, 1]. Sizes may differ where all are worked on in the square.
            num_inference_steps: denoising steps; ignored where `settings` are given.
            resolution: working size; ignored where `settings` are given.
            settings: all switches; the published ones if None.
            generator: source of noise; a list holds one for each picture, so that each gets what it would get
                alone.
            noise: the initial noises of transmission and reflection, (B, 4, h, w) each, instead of a
                generator.
            layers: which of `LAYERS` to decode.
            output_type: "pil", "np", "pt" (floats in [0, 1]) or "latent".
            return_dict: return a `DiffRSOutput`, else the tuple of what was asked for.
            callback_on_step_end: called as ``f(pipeline, step, timestep, tensors)``; may return changed
                ``latents``.
            callback_on_step_end_tensor_inputs: of "latents" (2B, 4, h, w; after the step, transmissions
                first), "prediction" (raw v-predictions) and "optimised" (latents after optimisation, or
                None).

        Returns:
            The layers, at each picture's own size.

        Raises:
            InputError: a picture or setting that cannot be used.
        """
        settings = settings or DiffRSSettings(steps=num_inference_steps, resolution=resolution)
        self.check_inputs(settings, layers, callback_on_step_end_tensor_inputs)
        # Optimisation needs gradients of the synthesis network, which inference mode would forbid.
        # Leaving it switches gradients on, and the UNet must not keep any.
        with torch.inference_mode(False), torch.no_grad():
            pictures = [picture.clone() for picture in read_pictures(image)]
            return self._separate(
                pictures,
                settings,
                generator,
                noise,
                layers,
                output_type,
                return_dict,
                callback_on_step_end,
                callback_on_step_end_tensor_inputs,
            )

    def _separate(
        self,
        pictures: list[Tensor],
        settings: DiffRSSettings,
        generator: Generators,
        noise: tuple[Tensor, Tensor] | None,
        layers: Sequence[str],
        output_type: OutputType,
        return_dict: bool,
        callback: StepEnd | None,
        callback_tensors: Sequence[str],
    ) -> DiffRSOutput | tuple[Any, ...]:
        sizes = [(picture.shape[-2], picture.shape[-1]) for picture in pictures]
        working = {working_size(*size, settings.resolution, settings.aspect) for size in sizes}
        if len(working) != 1:
            raise InputError(
                "keep",
                "pictures of different proportions cannot share a batch; give one at a time",
                setting="aspect",
            )
        height, width = working.pop()
        device = self._execution_device
        square = torch.cat(
            [to_working(picture.to(device), (height, width), settings.filter) for picture in pictures]
        )
        z_i, features = encode(self.vae, square, features="transmission" in layers and settings.w != 0)
        sums: dict[str, Tensor] = {}
        steps = settings.steps * settings.ensemble
        with self.progress_bar(total=steps) as bar, joint_attention(self.unet, settings.attention):
            for member in range(settings.ensemble):
                if noise is None or member > 0:
                    start = draw_noise(z_i, generator)
                else:
                    start = torch.cat([part.to(z_i) for part in noise])
                for step, timestep, tensors in self.denoise(z_i, start, settings, generator):
                    if callback is not None:
                        chosen = {name: tensors[name] for name in callback_tensors}
                        changed = callback(self, member * settings.steps + step, timestep, chosen) or {}
                        if changed.get("latents") is not None:
                            tensors["latents"].copy_(changed["latents"])
                    latents = tensors["latents"]
                    bar.update()
                z_t, z_r = latents.chunk(2)
                if output_type == "latent":
                    continue
                for name, picture in self._decode(z_t, z_r, features, settings, layers):
                    sums[name] = sums[name] + picture if name in sums else picture
        self.maybe_free_model_hooks()
        decoded = {
            name: deliver(total / settings.ensemble, sizes, output_type, to_size)
            for name, total in sums.items()
        }
        if output_type == "latent":
            decoded = {"transmission": z_t, "reflection": z_r}
        if return_dict:
            return DiffRSOutput(**decoded, latents_transmission=z_t, latents_reflection=z_r)
        return tuple(decoded[name] for name in layers if name in decoded)

    def denoise(
        self, z_i: Tensor, latents: Tensor, settings: DiffRSSettings, generator: Generators = None
    ) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """The sampling loop, one step at a time.

        Args:
            z_i: (B, 4, h, w) float32 scaled latent of the input.
            latents: (2B, 4, h, w) float32 initial noise, transmissions first.
            settings: the switches.
            generator: source of the noise that LCM adds between its steps; DDIM adds none.

        Yields:
            (step, timestep, tensors): "latents" after the step (a change in place is carried into the next
            step), the raw "prediction", and "optimised" latents where the step began with optimisation.
        """
        pictures, device = z_i.shape[0], z_i.device
        prompts = self.prompts(pictures).to(device, self.unet.dtype)
        labels = torch.arange(2, device=device).repeat_interleave(pictures)
        optimisation = LatentOptimisation()
        self.scheduler.set_timesteps(settings.steps, device=device)
        alphas = self.scheduler.alphas_cumprod.to(device)
        # One draw for each element of the batch; a list of generators then serves both layers of its
        # pictures.
        noise_source = list(generator) * 2 if isinstance(generator, Sequence) else generator
        for step, timestep in enumerate(self.scheduler.timesteps):
            sample = torch.cat([z_i.repeat(2, 1, 1, 1), latents], dim=1)  # (2B, 8, h, w)
            prediction = self.unet(
                sample.to(self.unet.dtype), timestep, prompts, class_labels=labels
            ).sample.float()
            v_t, v_r = prediction.chunk(2)
            optimised = None
            if settings.optimisation and optimisation.due(step):
                z_t, z_r = latents.chunk(2)
                latents = optimised = torch.cat(
                    optimise_latents(z_t, z_r, v_t, v_r, z_i, alphas[timestep], step, self.synthesis)
                )
            guided = torch.cat(disjoint(v_t, v_r, settings.k, settings.disjoint))
            latents = self.scheduler.step(guided, timestep, latents, generator=noise_source).prev_sample
            yield step, int(timestep), {"latents": latents, "prediction": prediction, "optimised": optimised}

    def _decode(
        self,
        z_t: Tensor,
        z_r: Tensor,
        features: Sequence[Tensor],
        settings: DiffRSSettings,
        layers: Sequence[str],
    ) -> Iterator[tuple[str, Tensor]]:
        """Decode what is asked for, picture by picture: one picture's decoder maps are the peak of memory."""
        for name in layers:
            fused = name == "transmission" and settings.w != 0
            if name == "mixture":
                # As published: without optimisation nothing has asked the synthesis network, and z_t stands
                # in.
                latents = self.synthesis(z_t, z_r) if settings.optimisation else z_t
            else:
                latents = z_r if name == "reflection" else z_t
            decoded = [
                decode(
                    self.vae,
                    latents[index : index + 1],
                    self.fusion if fused else None,
                    [maps[index : index + 1] for maps in features] if fused else (),
                    settings.w,
                )
                for index in range(latents.shape[0])
            ]
            yield name, to_unit(torch.cat(decoded))

    def check_inputs(
        self, settings: DiffRSSettings, layers: Sequence[str], callback_tensors: Sequence[str]
    ) -> None:
        """Refuse what cannot be run.

        Raises:
            InputError: unknown layers or callback tensors, or ``w > 0`` without fusion blocks.
        """
        for given, known, what in (
            (layers, LAYERS, "layer"),
            (callback_tensors, self._callback_tensor_inputs, "callback tensor"),
        ):
            for name in given:
                if name not in known:
                    raise InputError(f"{what} '{name}'", f"unknown; there are {', '.join(known)}")
        if settings.w > 0 and self.fusion is None:
            raise InputError(
                settings.w, "needs the fusion blocks, which these weights lack; give 0", setting="w"
            )


def check_parts(pipeline: DiffRSPipeline) -> None:
    """Refuse parts that cannot work together.

    Raises:
        ModelError: names the part that does not fit.
    """
    unet, scheduler = pipeline.unet, pipeline.scheduler
    if not isinstance(scheduler, DDIMScheduler | LCMScheduler):
        raise ModelError(f"scheduler {type(scheduler).__name__}", "DiffRS runs with DDIM or LCM only")
    kind = scheduler.config.prediction_type
    if kind != "v_prediction":
        raise ModelError("the base model", f"predicts '{kind}', DiffRS needs v_prediction: SD 2.1 (768-v)")
    if unet.config.in_channels != 8 or unet.config.num_class_embeds != 2:
        raise ModelError(
            "the UNet",
            f"has {unet.config.in_channels} input channels and {unet.config.num_class_embeds} classes, "
            "DiffRS needs 8 and 2: this is another model's checkpoint",
        )
    width, wanted = pipeline.prompts.config.width, unet.config.cross_attention_dim
    if width != wanted:
        raise ModelError(
            "the prompts",
            f"of width {width} do not fit a UNet of text width {wanted}: they come from another base model",
        )

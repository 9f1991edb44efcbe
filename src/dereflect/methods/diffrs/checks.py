"""Whether the parts of a DiffRS pipeline fit together (arXiv 2606.04107, on Stable Diffusion 2.1)."""

from __future__ import annotations

from typing import Any

from diffusers import DDIMScheduler, LCMScheduler

from dereflect.errors import ModelError


def check_parts(pipeline: Any) -> None:
    """Refuse parts that cannot work together.

    Raises:
        ModelError: names the part that does not fit.
    """
    unet, scheduler = pipeline.unet, pipeline.scheduler
    if not isinstance(scheduler, DDIMScheduler | LCMScheduler):
        raise ModelError(f"scheduler {type(scheduler).__name__}: DiffRS runs with DDIM or LCM only")
    kind = scheduler.config.prediction_type
    if kind != "v_prediction":
        raise ModelError(f"the base model predicts '{kind}', DiffRS needs v_prediction: SD 2.1 (768-v)")
    if unet.config.in_channels != 8 or unet.config.num_class_embeds != 2:
        raise ModelError(
            f"the UNet has {unet.config.in_channels} input channels and {unet.config.num_class_embeds} "
            "classes, DiffRS needs 8 and 2: this is another model's checkpoint"
        )
    width, wanted = pipeline.prompts.config.width, unet.config.cross_attention_dim
    if width != wanted:
        raise ModelError(
            f"prompts of width {width} do not fit a UNet of text width {wanted}: "
            "they come from another base model"
        )

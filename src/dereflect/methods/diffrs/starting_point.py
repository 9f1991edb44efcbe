"""Where training starts: a DiffRS pipeline, or a Stable Diffusion 2.1 that is made into one.

arXiv 2606.04107.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

from dereflect.errors import ModelError
from dereflect.methods.diffrs.fetch import check_base, embed, from_base
from dereflect.methods.diffrs.method import load_pipeline
from dereflect.methods.diffrs.official import widen_conv_in
from dereflect.methods.diffrs.pipeline import DiffRSPipeline
from dereflect.methods.diffrs.synthesis import LatentSynthesis

ClassStart = Literal["zero", "normal"]


def starting_pipeline(folder: Path, classes: ClassStart = "zero") -> DiffRSPipeline:
    """Load a DiffRS pipeline, or make one of a base model's folder.

    Args:
        folder: of either, in diffusers' layout.
        classes: how a new class embedding starts. PyTorch's N(0, 1) is large beside the time embedding, and
            zero leaves the base model as it was at the first step.

    Raises:
        ModelError: no pipeline, or one that cannot become DiffRS.
    """
    index = folder / "model_index.json"
    if not index.is_file():
        raise ModelError(folder, "no model_index.json; give the folder of a DiffRS pipeline or of SD 2.1")
    name = json.loads(index.read_text(encoding="utf-8")).get("_class_name")
    if name == DiffRSPipeline.__name__:
        return load_pipeline(folder)
    check_base(folder)
    stock = from_base(UNet2DConditionModel, folder, "unet")
    return assemble(
        widen_unet(stock, classes),
        from_base(AutoencoderKL, folder, "vae"),
        embed(folder),
        DDIMScheduler.from_pretrained(folder, subfolder="scheduler"),
    )


def widen_unet(stock: UNet2DConditionModel, classes: ClassStart = "zero") -> UNet2DConditionModel:
    """A stock UNet with 4 input channels to one that takes [picture, layer] and tells two classes apart."""
    unet = UNet2DConditionModel.from_config({**stock.config, "in_channels": 8, "num_class_embeds": 2})
    state = dict(stock.state_dict())
    state["conv_in.weight"], state["conv_in.bias"] = widen_conv_in(
        state["conv_in.weight"], state["conv_in.bias"]
    )
    embedding = unet.class_embedding.weight
    state["class_embedding.weight"] = torch.zeros_like(embedding) if classes == "zero" else embedding.data
    unet.load_state_dict(state)
    return unet


def assemble(unet: Any, vae: Any, prompts: Any, scheduler: Any) -> DiffRSPipeline:
    """A pipeline whose synthesis network is yet to be trained.

    Its decoder has no fusion yet: run it with w=0.
    """
    synthesis = LatentSynthesis(latent_channels=vae.config.latent_channels)
    return DiffRSPipeline(unet=unet, vae=vae, synthesis=synthesis, prompts=prompts, scheduler=scheduler)

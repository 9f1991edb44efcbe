"""DiffRS pipelines small enough for a test, with random weights."""

import torch
from diffrs_parts import base_scheduler, open_gains, two_level_unet
from diffusers import AutoencoderKL, UNet2DConditionModel

from dereflect.methods.diffrs.fusion import FidelityFusion
from dereflect.methods.diffrs.pipeline import DiffRSPipeline
from dereflect.methods.diffrs.prompts import PromptEmbeddings
from dereflect.methods.diffrs.synthesis import LatentSynthesis

WIDTHS = (8, 16, 16, 16)


def tiny_unet(in_channels: int = 8, classes: int | None = 2) -> UNet2DConditionModel:
    return two_level_unet(8, (16, 32), groups=4, attention=0, in_channels=in_channels, classes=classes)


def tiny_vae() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=WIDTHS,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=64,
    )


def make_pipeline() -> DiffRSPipeline:
    torch.manual_seed(1)
    synthesis = open_gains(LatentSynthesis(width=8, interactions=1, merges=1))
    pipeline = DiffRSPipeline(
        unet=tiny_unet().eval(),
        vae=tiny_vae().eval(),
        synthesis=synthesis.eval(),
        prompts=PromptEmbeddings.of(torch.randn(1, 7, 16), torch.randn(1, 7, 16)),
        scheduler=base_scheduler(),
        fusion=FidelityFusion.for_autoencoder(WIDTHS, growth=4, groups=4).eval(),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline

"""DiffRS pipelines small enough for a test, with random weights."""

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

from dereflect.methods.diffrs.fusion import FidelityFusion
from dereflect.methods.diffrs.pipeline import DiffRSPipeline
from dereflect.methods.diffrs.prompts import PromptEmbeddings
from dereflect.methods.diffrs.synthesis import LatentSynthesis

WIDTHS = (8, 16, 16, 16)


def tiny_unet(in_channels: int = 8, classes: int | None = 2) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=in_channels,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        norm_num_groups=4,
        num_class_embeds=classes,
    )


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


def sd_scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction",
        timestep_spacing="leading",
    )


def make_pipeline() -> DiffRSPipeline:
    torch.manual_seed(1)
    synthesis = LatentSynthesis(width=8, interactions=1, merges=1)
    for (
        name,
        parameter,
    ) in synthesis.named_parameters():  # gains start at zero: give the blocks something to do
        if name.rsplit(".", 1)[-1].split("_")[0] in {"a", "b"}:
            torch.nn.init.normal_(parameter, std=0.1)
    pipeline = DiffRSPipeline(
        unet=tiny_unet().eval(),
        vae=tiny_vae().eval(),
        synthesis=synthesis.eval(),
        prompts=PromptEmbeddings.of(torch.randn(1, 7, 16), torch.randn(1, 7, 16)),
        scheduler=sd_scheduler(),
        fusion=FidelityFusion.for_autoencoder(WIDTHS, growth=4, groups=4).eval(),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline

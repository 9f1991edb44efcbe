"""Parts of small DiffRS pipelines, for the benchmarks and the tests."""

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel

from dereflect.methods.diffrs.synthesis import LatentSynthesis


def base_scheduler() -> DDIMScheduler:
    """As Stable Diffusion 2.1 (768-v) comes with it."""
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


def two_level_unet(
    side: int,
    widths: tuple[int, int],
    groups: int,
    attention: int,
    in_channels: int = 8,
    classes: int | None = 2,
) -> UNet2DConditionModel:
    """A UNet of two levels, of which one has attention.

    Args:
        side: of the latent.
        attention: the level that has it, 0 or 1.
    """
    kinds = ["CrossAttnDownBlock2D" if level == attention else "DownBlock2D" for level in (0, 1)]
    return UNet2DConditionModel(
        sample_size=side,
        in_channels=in_channels,
        out_channels=4,
        down_block_types=tuple(kinds),
        up_block_types=tuple(kind.replace("Down", "Up") for kind in reversed(kinds)),
        block_out_channels=widths,
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        norm_num_groups=groups,
        num_class_embeds=classes,
    )


def open_gains(synthesis: LatentSynthesis) -> LatentSynthesis:
    """Gains start at zero: give the blocks something to do."""
    for name, parameter in synthesis.named_parameters():
        if name.rsplit(".", 1)[-1].split("_")[0] in {"a", "b"}:
            torch.nn.init.normal_(parameter, std=0.1)
    return synthesis

"""Stable Diffusion's autoencoder in the parts that DiffRS needs (arXiv 2606.04107).

The encoder's maps come out, and the fusion goes in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from dereflect.methods.diffrs.fusion import FidelityFusion


def encode(vae: Any, image: Tensor, features: bool = True) -> tuple[Tensor, list[Tensor]]:
    """Encode to the scaled mean latent, keeping the maps that the fusion blocks want from the same pass.

    Args:
        vae: a diffusers ``AutoencoderKL``.
        image: (B, 3, H, W) in [-1, 1].
        features: whether to keep the maps.

    Returns:
        (latent, maps): (B, 4, H/8, W/8) float32, the mean of the posterior times the scaling factor; and the
        outputs of all down blocks but the last, smallest first, which is the order the decoder takes them in.
    """
    _onload(vae)
    encoder = vae.encoder
    hidden = encoder.conv_in(image.to(vae.dtype))
    maps = []
    for index, block in enumerate(encoder.down_blocks):
        hidden = block(hidden)
        if features and index < len(encoder.down_blocks) - 1:
            maps.append(hidden)
    hidden = encoder.mid_block(hidden)
    moments = encoder.conv_out(encoder.conv_act(encoder.conv_norm_out(hidden)))
    if vae.quant_conv is not None:
        moments = vae.quant_conv(moments)
    mean = moments.chunk(2, dim=1)[0]
    return mean.float() * vae.config.scaling_factor, maps[::-1]


def decode(
    vae: Any,
    latent: Tensor,
    fusion: FidelityFusion | None = None,
    features: Sequence[Tensor] = (),
    weight: float = 0.0,
) -> Tensor:
    """Decode a scaled latent, with fusion of the encoder's maps if wanted.

    With `fusion` and a weight, the maps are fused in front of each up block but the last.

    Args:
        vae: a diffusers ``AutoencoderKL``.
        latent: (B, 4, h, w).
        fusion: the fusion blocks; they compute in the autoencoder's dtype.
        features: the maps from `encode`.
        weight: how much of the fusion is added; 0 leaves it out.

    Returns:
        (B, 3, 8h, 8w) float32, nominally in [-1, 1].
    """
    _onload(vae)
    decoder = vae.decoder
    hidden = (latent / vae.config.scaling_factor).to(vae.dtype)
    if vae.post_quant_conv is not None:
        hidden = vae.post_quant_conv(hidden)
    hidden = decoder.mid_block(decoder.conv_in(hidden), None)
    for index, block in enumerate(decoder.up_blocks):
        if fusion is not None and weight != 0 and index < len(features):
            hidden = fusion(index, features[index], hidden, weight)
        hidden = block(hidden, None)
    return decoder.conv_out(decoder.conv_act(decoder.conv_norm_out(hidden))).float()


def _onload(model: Any) -> None:
    """Bring a model that diffusers keeps off the device onto it.

    Its hook only fires on ``model(...)`` by itself.
    """
    hook = getattr(model, "_hf_hook", None)
    if hook is not None and hasattr(hook, "pre_forward"):
        hook.pre_forward(model)

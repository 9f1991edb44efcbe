"""Maps of what the model invented: where its layers do not explain the photo (arXiv 2606.04107, section 3).

A generative prior fills in what the photo does not show. These maps say where to be wary. They are no proof
of the opposite: what they leave dark may be invented all the same, so long as it agrees with the photo.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dereflect.methods.diffrs.autoencoder import decode, encode
from dereflect.methods.diffrs.pictures import to_size, to_unit, to_working


@torch.no_grad()
def unexplained(
    pipeline: Any, blended: Tensor, transmission: Tensor, reflection: Tensor, size: tuple[int, int]
) -> Tensor:
    """How far the two layers, recombined by the learned synthesis network, miss the photo.

    Both layers are encoded, mixed by the network, decoded, and compared with the photo after the same trip
    through the autoencoder, so that what the autoencoder itself loses does not count.

    Args:
        pipeline: a `DiffRSPipeline`.
        blended, transmission, reflection: (B, 3, H, W) in [0, 1].
        size: working height and width.

    Returns:
        (B, 1, H, W) in [0, 1]: the largest difference over the channels.
    """
    device = next(pipeline.synthesis.parameters()).device
    latents = [
        encode(pipeline.vae, to_working(picture.to(device), size), features=False)[0]
        for picture in (blended, transmission, reflection)
    ]
    mixture = pipeline.synthesis(latents[1], latents[2])
    seen, explained = (to_unit(decode(pipeline.vae, latent)) for latent in (latents[0], mixture))
    difference = (seen - explained).abs().amax(dim=1, keepdim=True)
    return to_size(difference, (blended.shape[-2], blended.shape[-1])).to(blended.device)


def invented(blended: Tensor, transmission: Tensor, reflection: Tensor) -> Tensor:
    """How far the transmission differs from the photo beyond what the reflection accounts for.

    Taking a reflection R away can darken a pixel by up to R. A transmission that is brighter than the photo,
    or darker by more than R, shows something that neither the photo nor the reflection holds.

    Args:
        blended, transmission, reflection: (B, 3, H, W) in [0, 1].

    Returns:
        (B, 1, H, W) in [0, 1]: the largest such difference over the channels.
    """
    removed = blended - transmission
    beyond = torch.maximum(-removed, removed - reflection).clamp(0, 1)
    return beyond.amax(dim=1, keepdim=True)

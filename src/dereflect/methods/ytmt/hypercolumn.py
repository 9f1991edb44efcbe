"""Input of 1475 channels: the image and five VGG-19 levels brought to its size (paper section 3.2)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor


def hypercolumn(image: Tensor, levels: Iterable[Tensor]) -> Tensor:
    """Join an image with feature levels, each resized to the image's size (bilinear, corners not aligned).

    Args:
        image: (B, 3, H, W) in [0, 1]; VGG saw the same numbers, not normalised by ImageNet's mean and
            deviation.
        levels: the five levels of `Vgg19`, each (B, C_k, H_k, W_k).

    Returns:
        (B, 1475, H, W) in the order image, relu1_1, relu2_1, relu3_1, relu4_1, relu5_1.
    """
    size = image.shape[-2:]
    resized = [F.interpolate(level, size, mode="bilinear", align_corners=False) for level in levels]
    return torch.cat([image, *resized], dim=1)

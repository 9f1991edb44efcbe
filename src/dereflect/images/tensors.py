"""Pixels to tensors; a file of its own, for the rest of the package `images` needs no torch."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dereflect.images.picture import Array, convert_depth


def to_tensor(pixels: Array | Image.Image) -> Tensor:
    """(H, W, 3) uint8, uint16 or floats in [0, 1], or an RGB image, to (3, H, W) float32 in [0, 1]."""
    floats = convert_depth(np.ascontiguousarray(pixels), np.dtype(np.float32))
    return torch.from_numpy(np.ascontiguousarray(floats.transpose(2, 0, 1)))

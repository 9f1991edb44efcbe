"""The first three blocks of VGG-16 (Simonyan & Zisserman, 2015), as a judge of pictures in training."""

from __future__ import annotations

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from dereflect.weights import check_keys, read_checkpoint

WIDTHS = ((64, 64), (128, 128), (256, 256, 256))
MEAN = (122.67892, 116.66877, 104.00699)
"""Mean colour (R, G, B in 0..255) that the trained network expects to be taken off."""


class Vgg16(nn.Module):
    """Frozen features relu1_2, relu2_2 and relu3_3 of an sRGB picture in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        channels, self.blocks = 3, nn.ModuleList()
        for widths in WIDTHS:
            block = nn.ModuleList()
            for width in widths:
                block.append(nn.Conv2d(channels, width, 3, padding=1))
                channels = width
            self.blocks.append(block)
        self.requires_grad_(False)
        self.eval()

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [0, 1] -> features at 1/1, 1/2 and 1/4, of 64, 128 and 256 channels."""
        x = 255 * image - image.new_tensor(MEAN).view(1, 3, 1, 1)
        features = []
        for index, block in enumerate(self.blocks):
            if index:
                x = F.max_pool2d(x, 2)
            for conv in block:  # type: ignore[attr-defined]
                x = F.relu(conv(x))
            features.append(x)
        return features


def load_vgg16(path: str | Path) -> Vgg16:
    """VGG-16 with the weights of a safetensors file that ``scripts/convert_vgg16.py`` wrote.

    Raises:
        InputError: a file that cannot be read.
        ModelError: keys that do not fit.
    """
    network, state = Vgg16(), read_checkpoint(path)
    check_keys(network.state_dict(), state, f"{path}: VGG-16")
    network.load_state_dict(state)
    return network

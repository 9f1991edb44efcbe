"""Feature stacks of LPIPS and DISTS: AlexNet, VGG-16 and SqueezeNet 1.1 with torchvision's key names.

Only the ``features`` part is built; weights are read from torchvision's files, never shipped.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Features(nn.Module):
    """Layers in torchvision's order whose outputs at some indices are wanted. Keys: ``features.N...``."""

    def __init__(self, layers: Sequence[nn.Module], taps: Sequence[int]) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers[: taps[-1] + 1])
        self.taps = tuple(taps)
        self.requires_grad_(False)
        self.eval()

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to the outputs at the taps, shallow to deep."""
        x, found = image, []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.taps:
                found.append(x)
        return found


class Fire(nn.Module):
    """SqueezeNet's module (Iandola et al., 2016): squeeze to few channels, expand by 1x1 and by 3x3."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, 2 expanded, H, W)."""
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], 1)


def alexnet() -> Features:
    """AlexNet (Krizhevsky, 2014, one tower): 64, 192, 384, 256, 256 channels after its five rectifiers."""
    layers = [
        nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
    ]  # fmt: skip
    return Features(layers, (1, 4, 7, 9, 11))


VGG16_TAPS = (3, 8, 15, 22, 29)
"""relu1_2, relu2_2, relu3_3, relu4_3, relu5_3."""


def vgg16(pool: type[nn.Module] | None = None) -> Features:
    """VGG-16 (Simonyan & Zisserman, 2015): 64, 128, 256, 512, 512 channels at `VGG16_TAPS`.

    Args:
        pool: made with the channel count in place of each max-pool (DISTS).
    """
    layers: list[nn.Module] = []
    channels = 3
    for block, width in enumerate((64, 128, 256, 512, 512)):
        if block:
            layers.append(nn.MaxPool2d(2, 2) if pool is None else pool(channels))
        for _ in range(2 if block < 2 else 3):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
    return Features(layers, VGG16_TAPS)


def squeezenet() -> Features:
    """SqueezeNet 1.1: seven taps of 64, 128, 256, 384, 384, 512, 512 channels."""
    layers = [
        nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(64, 16, 64), Fire(128, 16, 64), nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(128, 32, 128), Fire(256, 32, 128), nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256),
    ]  # fmt: skip
    return Features(layers, (1, 4, 7, 9, 10, 11, 12))

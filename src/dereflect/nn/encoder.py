"""A half-width ResNet-50 trunk: an encoder that the default model can be trained with.

Layout: K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition" (CVPR 2016), the
bottleneck version, with half the channels and the stride in the first 1x1 convolution of a stage. Batch norms
are folded into the convolutions, so training and evaluation are the same function. Its weights are Yahoo's
open_nsfw (ImageNet-trained, then fine-tuned; BSD-2-Clause), which `scripts/convert_encoder.py` converts from
a plain ONNX graph; the default model had them until its long run.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

STAGES = ((3, 32), (4, 64), (6, 128), (3, 256))
"""(blocks, inner width) of each stage; a stage's output has four times its inner width."""
CHANNELS = (128, 256, 512, 1024)
"""Channels of the four outputs, at 1/4, 1/8, 1/16 and 1/32 of the input."""

MEAN = (104.0, 117.0, 123.0)
"""Mean colour (B, G, R in 0..255) that the trained network expects to be taken off."""


class Bottleneck(nn.Module):
    """1x1 (stride) - 3x3 - 1x1 with a residual; the residual is projected where the width or size changes."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, width, 1, stride)
        self.spatial = nn.Conv2d(width, width, 3, padding=1)
        self.expand = nn.Conv2d(width, 4 * width, 1)
        self.project = (
            nn.Conv2d(channels, 4 * width, 1, stride) if channels != 4 * width or stride > 1 else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, 4 * width, H / stride, W / stride)."""
        y = F.relu(self.reduce(x))
        y = F.relu(self.spatial(y))
        y = self.expand(y)
        return F.relu(y + (x if self.project is None else self.project(x)))


class HalfResNet50(nn.Module):
    """Four feature maps of an sRGB picture in [0, 1].

    The trained network expects BGR in 0..255 minus a mean colour; that is folded into `forward`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 7, 2, padding=3)
        channels = 64
        self.stages = nn.ModuleList()
        for index, (blocks, width) in enumerate(STAGES):
            stage = []
            for block in range(blocks):
                stage.append(Bottleneck(channels, width, 2 if block == 0 and index > 0 else 1))
                channels = 4 * width
            self.stages.append(nn.Sequential(*stage))

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [0, 1] to features at 1/4, 1/8, 1/16 and 1/32; see `CHANNELS`.

        H and W are multiples of 32.
        """
        x = image.flip(1) * 255 - image.new_tensor(MEAN).view(1, 3, 1, 1)
        x = F.relu(self.stem(x))
        x = F.max_pool2d(
            F.pad(x, (0, 1, 0, 1)), 3, 2
        )  # the trained network pads at the end only; x >= 0, so zeros do
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features

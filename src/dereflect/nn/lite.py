"""The trunk of EfficientNet-Lite2: features "that have seen the world", light enough for a phone.

M. Tan, Q. V. Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (ICML 2019), in
its Lite form: no channel attention, and rectifiers that stop at 6. The blocks are those of M. Sandler et al.,
"MobileNetV2" (CVPR 2018), section 3. Batch norms are folded into the convolutions, so training and evaluation
are the same function.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

STAGES = (
    (((1, 16, 3, 1, 1), (3, 24, 3, 2, 6))),
    ((3, 48, 5, 2, 6),),
    ((4, 88, 3, 2, 6), (4, 120, 5, 1, 6)),
    ((5, 208, 5, 2, 6), (1, 352, 3, 1, 6)),
)
"""For each of the four outputs, rows of (blocks, channels, kernel, stride of the first block, widening)."""
CHANNELS = (24, 48, 120, 352)
"""Channels of the four outputs, at 1/4, 1/8, 1/16 and 1/32 of the input."""
STEM = 32


class SamePadded(nn.Conv2d):
    """A convolution that pads as TensorFlow's "same" does: an odd zero goes to the right and the bottom."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), H and W even where the stride is 2 -> (B, C', H / stride, W / stride)."""
        total = self.kernel_size[0] - self.stride[0]
        before, after = total // 2, total - total // 2
        if before == after:
            return F.conv2d(x, self.weight, self.bias, self.stride, before, 1, self.groups)
        return self._conv_forward(F.pad(x, (before, after, before, after)), self.weight, self.bias)


class MobileBlock(nn.Module):
    """Widen by a 1x1 convolution, a depthwise convolution, narrow again; a residual where the shape stays."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, widening: int) -> None:
        super().__init__()
        inner = channels * widening
        self.widen = nn.Conv2d(channels, inner, 1) if widening > 1 else None
        self.spatial = SamePadded(inner, inner, kernel, stride, groups=inner)
        self.narrow = nn.Conv2d(inner, out, 1)
        self.residual = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, out, H / stride, W / stride)."""
        y = x if self.widen is None else F.relu6(self.widen(x))
        y = self.narrow(F.relu6(self.spatial(y)))
        return x + y if self.residual else y


class EfficientNetLite2(nn.Module):
    """Four feature maps of an sRGB picture in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SamePadded(3, STEM, 3, 2)
        channels = STEM
        self.stages = nn.ModuleList()
        for rows in STAGES:
            blocks: list[nn.Module] = []
            for count, out, kernel, stride, widening in rows:
                for number in range(count):
                    blocks.append(MobileBlock(channels, out, kernel, stride if number == 0 else 1, widening))
                    channels = out
            self.stages.append(nn.Sequential(*blocks))

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [0, 1], H and W multiples of 32 -> features at 1/4 to 1/32, see `CHANNELS`."""
        x = F.relu6(self.stem((255 * image - 127) / 128))
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features

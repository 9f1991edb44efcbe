"""DSIT: a Swin prior and a convolutional prior meet level by level; two streams are decoded together.

Q. Hu, H. Wang, X. Guo, "Single Image Reflection Separation via Dual-Stream Interactive Transformers" (NeurIPS
2024). This is the plain form: it reads like the paper's figure, and `fast` is tested against it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dereflect.methods.dsit.attention import DualAttentionBlock
from dereflect.methods.dsit.config import DSITConfig
from dereflect.methods.residual_criteria import LayersAndResidual
from dereflect.nn.mugi import MuGIBlock, Twice
from dereflect.nn.single_stream import SingleStreamBlock
from dereflect.nn.streams import TwoStreams, TwoStreamSequence
from dereflect.nn.swin import Swin
from dereflect.nn.windows import fitting_window


class ConvPrior(nn.Module):
    """Pyramid of mutually gated blocks: two streams of features at six resolutions.

    Args:
        width: channels at full resolution; each level down has twice as many.
        blocks: mutually gated blocks of a level.
    """

    def __init__(self, width: int, blocks: int = 2) -> None:
        super().__init__()
        self.stem = Twice(nn.Conv2d(3, width, 3, padding=1))
        for level in range(1, 6):
            channels = width * 2 ** (level - 1)
            gated = [MuGIBlock(channels) for _ in range(blocks)]
            down = Twice(nn.Conv2d(channels, 2 * channels, 2, stride=2))
            self.add_module(f"block{level}", TwoStreamSequence(*gated, down))

    def forward(self, image: Tensor) -> list[TwoStreams]:
        """Both streams at 1, 1/2, .. 1/32 of a picture (B, 3, H, W)."""
        levels: list[TwoStreams] = [self.stem(image, image)]
        for level in range(1, 6):
            levels.append(self.get_submodule(f"block{level}")(*levels[-1]))
        return levels


class DSIT(nn.Module):
    """The network. H and W of a picture are multiples of 32."""

    def __init__(self, config: DSITConfig) -> None:
        super().__init__()
        self.config = config
        c, (heads16, heads8, heads4, heads2, heads1) = config.width, config.heads

        def attention(channels: int, heads: int, stride: int) -> DualAttentionBlock:
            window = fitting_window(config.window, config.resolution // stride)
            return DualAttentionBlock(channels, heads, window)

        def decoder(level: int, channels: int, heads: int, stride: int, inner: int) -> list[nn.Module]:
            blocks: list[nn.Module] = [
                attention(channels, heads, stride) for _ in range(config.attention_blocks[level])
            ]
            if inner != channels:
                blocks.append(Twice(nn.PixelShuffle(2)))
            return blocks + [MuGIBlock(inner) for _ in range(config.gated_blocks[level])]

        def pointwise(channels: int, out: int) -> Twice:
            return Twice(nn.Conv2d(channels, out, 1))

        self.swin_prior = Swin(config.swin).requires_grad_(False)
        self.conv_prior = ConvPrior(c)
        self.aib5 = TwoStreamSequence(
            Twice(nn.PixelShuffle(2)), attention(8 * c, heads8, 16), pointwise(8 * c, 16 * c)
        )
        self.aib4 = TwoStreamSequence(attention(16 * c, heads16, 16))
        self.lib4 = TwoStreamSequence(*decoder(0, 16 * c, heads16, 16, 4 * c), pointwise(4 * c, 8 * c))
        self.aib3 = TwoStreamSequence(attention(8 * c, heads8, 8))
        self.lib3 = TwoStreamSequence(*decoder(1, 8 * c, heads8, 8, 2 * c), pointwise(2 * c, 4 * c))
        self.aib2 = TwoStreamSequence(attention(4 * c, heads4, 4))
        self.lib2 = TwoStreamSequence(*decoder(2, 4 * c, heads4, 4, c), pointwise(c, 2 * c))
        self.lib1 = TwoStreamSequence(*decoder(3, 2 * c, heads2, 2, c // 2), pointwise(c // 2, c))
        self.lib0 = TwoStreamSequence(*decoder(4, c, heads1, 1, c))
        self.out = Twice(nn.Conv2d(c, 3, 3, padding=1))
        self.lrm = nn.Sequential(SingleStreamBlock(c), nn.Conv2d(c, 3, 3, padding=1))

    def forward(self, image: Tensor) -> LayersAndResidual:
        """Separate a picture.

        Args:
            image: (B, 3, H, W) in [0, 1], H and W multiples of 32.

        Returns:
            (transmission, reflection, residual), each (B, 3, H, W). The layers are not clamped; the residual
            lies in [-1, 1].
        """
        with torch.no_grad():
            sp2, sp3, sp4, sp5 = self.swin_prior(image)
        cp0, cp1, cp2, cp3, cp4, cp5 = self.conv_prior(image)

        s5 = interaction(self.aib5, sp5, cp5)  # 16c channels at 1/16
        s4 = interaction(self.aib4, sp4, cp4)
        f4 = self.lib4(*added(s5, s4))  # 8c at 1/8
        f3 = self.lib3(*added(f4, interaction(self.aib3, sp3, cp3)))  # 4c at 1/4
        f2 = self.lib2(*added(f3, interaction(self.aib2, sp2, cp2)))  # 2c at 1/2
        f1 = self.lib1(*added(f2, cp1))  # c at 1
        left, right = self.lib0(*added(f1, cp0))
        transmission, reflection = self.out(left, right)
        return transmission, reflection, torch.tanh(self.lrm(left + right))


def added(first: TwoStreams, second: TwoStreams) -> TwoStreams:
    """Sums of two pairs of streams."""
    return first[0] + second[0], first[1] + second[1]


def interaction(block: nn.Module, swin: Tensor, streams: TwoStreams) -> TwoStreams:
    """Each convolutional stream meets the Swin features; both results of a meeting are added."""
    met_l, met_r = block(swin, streams[0]), block(swin, streams[1])
    return met_l[0] + met_l[1], met_r[0] + met_r[1]

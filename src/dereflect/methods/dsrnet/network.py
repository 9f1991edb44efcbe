"""DSRNet: a semantic pyramid, then a U-shaped network of mutually gated blocks on two streams.

Q. Hu, X. Guo, "Single Image Reflection Separation via Component Synergy" (ICCV 2023). This is the plain form:
it reads like the paper's figure, and `fast` is tested against it.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dereflect.methods.dsrnet.config import DSRNetConfig
from dereflect.methods.dsrnet.residual import ResidualModule
from dereflect.methods.dsrnet.semantic import SemanticPyramid
from dereflect.methods.residual_criteria import LayersAndResidual
from dereflect.nn.mugi import MuGIBlock, Twice
from dereflect.nn.streams import TwoStreams, TwoStreamSequence


class DSRNet(nn.Module):
    """The network without its VGG-19. H and W of a picture are multiples of ``config.size_multiple``."""

    def __init__(self, config: DSRNetConfig) -> None:
        super().__init__()
        self.config = config

        def gated(channels: int, count: int) -> TwoStreamSequence:
            return TwoStreamSequence(*(MuGIBlock(channels, config.shared_b) for _ in range(count)))

        widths = [config.width * 2**level for level in range(len(config.encoder_blocks) + 1)]
        upwards = widths[:0:-1]  # widths below the top, from the deepest
        self.intro = SemanticPyramid(config.width, config.shared_b)
        self.ending = Twice(nn.Conv2d(config.width, 3, 3, padding=1))
        self.encoders = nn.ModuleList(
            gated(width, count) for width, count in zip(widths, config.encoder_blocks, strict=False)
        )
        self.decoders = nn.ModuleList(
            gated(width // 2, count) for width, count in zip(upwards, config.decoder_blocks, strict=True)
        )
        self.middle_blks = gated(widths[-1], config.middle_blocks)
        self.ups = nn.ModuleList(
            Twice(nn.Conv2d(width, 2 * width, 1, bias=False), nn.PixelShuffle(2)) for width in upwards
        )
        self.downs = nn.ModuleList(Twice(nn.Conv2d(width, 2 * width, 2, stride=2)) for width in widths[:-1])
        self.lrm = ResidualModule(config.width, config.residual_blocks)

    def forward(self, image: Tensor, levels: Sequence[Tensor]) -> LayersAndResidual:
        """Separate a picture.

        Args:
            image: (B, 3, H, W) in [0, 1].
            levels: the five VGG-19 levels of the picture as it is, not normalised.

        Returns:
            (transmission, reflection, residual), each (B, 3, H, W). The layers are not clamped; the residual
            lies in [-1, 1].
        """
        left, right = self.intro(image, levels)
        skips: list[TwoStreams] = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            left, right = encoder(left, right)
            skips.append((left, right))
            left, right = down(left, right)
        left, right = self.middle_blks(left, right)
        for decoder, up in zip(self.decoders, self.ups, strict=True):
            left, right = up(left, right)
            skip = skips.pop()
            left, right = decoder(left + skip[0], right + skip[1])
        transmission, reflection = self.ending(left, right)
        return transmission, reflection, self.lrm(left, right)

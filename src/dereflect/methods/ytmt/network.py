"""The U-shaped and the plain YTMT network (paper section 3.2, Figure 2)."""

from __future__ import annotations

from torch import Tensor, nn

from dereflect.methods.ytmt.blocks import Down, DualBlock, OutputConvs, Up
from dereflect.methods.ytmt.config import YtmtConfig
from dereflect.nn.streams import TwoStreams


class UNetwork(nn.Module):
    """U-shaped network of two streams: UAS, UCS, and with exchange P or N the two ablations.

    Skips are the encoder blocks' outputs after their exchange, each stream to its own. Nine exchanges in all.
    """

    def __init__(self, config: YtmtConfig) -> None:
        super().__init__()
        w, kind = config.width, config.exchange
        self.inc = DualBlock(config.in_channels, w, kind, attention=False)
        self.down1 = Down(w, 2 * w, kind)
        self.down2 = Down(2 * w, 4 * w, kind)
        self.down3 = Down(4 * w, 8 * w, kind)
        self.down4 = Down(8 * w, 8 * w, kind)
        self.up1 = Up(16 * w, 4 * w, kind)
        self.up2 = Up(8 * w, 2 * w, kind)
        self.up3 = Up(4 * w, w, kind)
        self.up4 = Up(2 * w, w, kind)
        self.outc = OutputConvs(w, config.image_channels, bias=True, squash=config.squash)

    def forward(self, left: Tensor, right: Tensor | None = None) -> TwoStreams:
        """Separate.

        Args:
            left: input of the transmission's stream (B, in_channels, H, W), H and W at least 16.
            right: input of the reflection's stream; None (stage one) means the same as `left`.

        Returns:
            (transmission, reflection), each (B, image_channels, H, W).
        """
        return self.decode(self.inc(left, left if right is None else right))

    def decode(self, features: TwoStreams) -> TwoStreams:
        """Everything after the first block."""
        one = features  # resolution 1
        two = self.down1(*one)  # 1/2
        three = self.down2(*two)  # 1/4
        four = self.down3(*three)  # 1/8
        five = self.down4(*four)  # 1/16
        x = self.up1(five, four)
        x = self.up2(x, three)
        x = self.up3(x, two)
        x = self.up4(x, one)
        return self.outc(*x)


class PlainNetwork(nn.Module):
    """Network of two streams at full resolution throughout: PAS and PCS."""

    def __init__(self, config: YtmtConfig) -> None:
        super().__init__()
        w, kind = config.width, config.exchange
        self.conv1 = DualBlock(config.in_channels, w, kind, attention=False)
        self.convs = nn.ModuleList(DualBlock(w, w, kind) for _ in range(config.layers - 2))
        self.out = OutputConvs(w, config.image_channels, bias=False, squash=config.squash)

    def forward(self, left: Tensor, right: Tensor | None = None) -> TwoStreams:
        """As `UNetwork.forward`, for any size."""
        return self.decode(self.conv1(left, left if right is None else right))

    def decode(self, features: TwoStreams) -> TwoStreams:
        """Everything after the first block."""
        for block in self.convs:
            features = block(*features)
        return self.out(*features)

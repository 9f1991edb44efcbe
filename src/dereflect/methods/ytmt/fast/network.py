"""Fast forms of the U-shaped and the plain network after their first convolution."""

from __future__ import annotations

from torch import Tensor, nn

from dereflect.methods.ytmt.blocks import DualBlock, OutputConvs, StreamConv
from dereflect.methods.ytmt.fast.engine import Conv, Engine, Gates, parts_buffer
from dereflect.methods.ytmt.network import PlainNetwork, UNetwork
from dereflect.nn.exchange import Exchange, ExchangeHead
from dereflect.nn.streams import TwoStreams


class FastHead:
    """`ExchangeHead`; may overwrite its inputs."""

    def __init__(self, engine: Engine, head: ExchangeHead) -> None:
        self.engine, self.kind = engine, head.kind
        if self.kind in (Exchange.CONCAT, Exchange.RELU_ONLY):
            self.fusion = Conv.of(engine, head.fusion_l), Conv.of(engine, head.fusion_r)

    def __call__(self, left: Tensor, right: Tensor) -> TwoStreams:
        """Exchange two pre-activations (B, C, H, W)."""
        if self.kind is Exchange.NONE:
            return left.relu_(), right.relu_()
        if self.kind is Exchange.ADDITIVE:
            given = left.clamp_max(0)
            left.clamp_min_(0).add_(right.clamp_max(0))
            return left, right.clamp_min_(0).add_(given)
        kept = self.kind is Exchange.RELU_ONLY
        out_left = self.fusion[0](parts_buffer(self.engine, left, right, kept))
        return out_left, self.fusion[1](parts_buffer(self.engine, right, left, kept))


class FastStream:
    """`StreamConv` with attention; overwrites its input."""

    def __init__(self, engine: Engine, stream: nn.Module) -> None:
        assert isinstance(stream, StreamConv)
        pixel, channel, conv = stream.model
        self.gates, self.conv = Gates(engine, pixel, channel), Conv.of(engine, conv)

    def __call__(self, x: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, H, W), not yet rectified."""
        gate = self.gates.scale_pixels(x)
        if len(x) == 1:
            return self.conv(x, gate)
        return self.conv(x.mul_(gate))


class FastDual:
    """`DualBlock` with attention; overwrites its inputs."""

    def __init__(self, engine: Engine, block: DualBlock) -> None:
        self.left, self.right = FastStream(engine, block.conv_l), FastStream(engine, block.conv_r)
        self.head = FastHead(engine, block.ytmt_head)

    def __call__(self, left: Tensor, right: Tensor) -> TwoStreams:
        """Two (B, in, H, W) to two (B, out, H, W)."""
        return self.head(self.left(left), self.right(right))


class FastOut:
    """`OutputConvs`, in float32 from the last convolution on."""

    def __init__(self, engine: Engine, out: OutputConvs) -> None:
        self.convs = Conv.of(engine, out.conv_l[0]), Conv.of(engine, out.conv_r[0])
        self.squash = len(out.conv_l) == 2

    def __call__(self, left: Tensor, right: Tensor) -> TwoStreams:
        """Two (B, width, H, W) to two pictures."""
        images = self.convs[0](left).float(), self.convs[1](right).float()
        return (images[0].sigmoid_(), images[1].sigmoid_()) if self.squash else images


class FastU:
    """`UNetwork` from the pre-activations of its first block on."""

    def __init__(self, engine: Engine, network: UNetwork) -> None:
        self.engine = engine
        self.head = FastHead(engine, network.inc.ytmt_head)
        self.downs = [
            FastDual(engine, down.model)
            for down in (network.down1, network.down2, network.down3, network.down4)
        ]
        self.ups = [FastDual(engine, up.model) for up in (network.up1, network.up2, network.up3, network.up4)]
        self.out = FastOut(engine, network.outc)

    def __call__(self, left: Tensor, right: Tensor) -> TwoStreams:
        """Pre-activations of the first block (B, width, H, W) to two images in float32.

        The pre-activations are overwritten.
        """
        levels = [self.head(left, right)]
        for down in self.downs:
            levels.append(down(self.engine.pool(levels[-1][0]), self.engine.pool(levels[-1][1])))
        x = levels.pop()
        for up in self.ups:
            skip = levels.pop()
            x = up(self._join(x[0], skip[0]), self._join(x[1], skip[1]))
        return self.out(*x)

    def _join(self, low: Tensor, skip: Tensor) -> Tensor:
        own = skip.shape[1]
        joined = self.engine.empty(skip.shape[0], own + low.shape[1], skip.shape[2], skip.shape[3])
        joined[:, :own] = skip
        self.engine.doubled(joined[:, own:], low)
        return joined


class FastPlain:
    """`PlainNetwork` from the pre-activations of its first block on."""

    def __init__(self, engine: Engine, network: PlainNetwork) -> None:
        self.head = FastHead(engine, network.conv1.ytmt_head)
        self.blocks = [FastDual(engine, block) for block in network.convs if isinstance(block, DualBlock)]
        self.out = FastOut(engine, network.out)

    def __call__(self, left: Tensor, right: Tensor) -> TwoStreams:
        """As `FastU`."""
        x = self.head(left, right)
        for block in self.blocks:
            x = block(*x)
        return self.out(*x)

"""Fast form of the old network after its first convolution.

Between its 1x1 mixing and the 3x3 convolution that follows there is no rectifier on the way up and at the
end, so the two are one 3x3 convolution. The deep half of it acts on a doubled picture and is computed at the
low resolution.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dereflect.methods.ytmt.fast.engine import Conv, Engine, Gates, parts_buffer
from dereflect.methods.ytmt.fast.resized import Axis, ResizedConv, add_resized_convs, mixing_matrix
from dereflect.methods.ytmt.network_old import FirstBlock, OldDown, OldOut, OldUNetwork, OldUp
from dereflect.nn.streams import TwoStreams


class MergedConv:
    """A 1x1 convolution followed by a zero-padded 3x3 convolution, as one 3x3 convolution.

    Outside of the picture the second convolution sees zeros and not the first one's bias, so that the merged
    bias is smaller along the border.
    """

    def __init__(self, engine: Engine, mix: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
        merged, tap_bias = merge(mix, weight)
        counted = F.conv2d(torch.ones(1, 1, 3, 3, dtype=tap_bias.dtype), tap_bias[:, None].cpu(), padding=1)[
            0
        ]
        inside = counted[:, 1, 1]
        self.conv = Conv(engine, merged.to(weight), bias + inside.to(bias))
        self.border = engine.tensor((counted - inside[:, None, None]).to(weight))  # (O, 3, 3), middle zero

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, O, H, W), H and W at least 2."""
        y, extra = self.conv(x), self.border
        y[:, :, 0, 1:-1] += extra[:, 0, 1, None]
        y[:, :, -1, 1:-1] += extra[:, 2, 1, None]
        y[:, :, 1:-1, 0] += extra[:, 1, 0, None]
        y[:, :, 1:-1, -1] += extra[:, 1, 2, None]
        for row in (0, -1):
            for column in (0, -1):
                y[:, :, row, column] += extra[:, row, column]
        return y


def merge(mix: nn.Conv2d, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (O, C, 3, 3) of "1x1 `mix`, then 3x3 `weight`".

    And what the bias of `mix` adds at each tap (O, 3, 3).
    """
    exact = weight.detach().double()
    kernel = mix.weight.detach().double()[:, :, 0, 0]
    assert mix.bias is not None
    merged = torch.einsum("omyx,mc->ocyx", exact, kernel)
    return merged, torch.einsum("omyx,m->oyx", exact, mix.bias.detach().double())


class FastDown:
    """`OldDown` up to its attention."""

    def __init__(self, engine: Engine, block: nn.Module) -> None:
        assert isinstance(block, OldDown)
        self.engine = engine
        self.fusion, self.conv = Conv.of(engine, block.fusion), Conv.of(engine, block.model[1])
        self.gates = Gates(engine, block.model[2], block.model[3])

    def __call__(self, joined: Tensor) -> Tensor:
        """cat[own, other] (B, 2C, H, W) to (B, out, H // 2, W // 2), not yet split."""
        return attend(self.gates, self.conv(self.engine.pool(self.fusion(joined))))


class FastUp:
    """`OldUp` up to its attention."""

    def __init__(self, engine: Engine, block: nn.Module) -> None:
        assert isinstance(block, OldUp)
        conv = block.model[0]
        assert isinstance(conv, nn.Conv2d)
        assert conv.bias is not None
        half = conv.weight.shape[1] // 2
        self.engine = engine
        self.skip = MergedConv(engine, block.fusion_2, conv.weight[:, :half], conv.bias)
        deep, tap_bias = merge(block.fusion_1, conv.weight[:, half:])
        self.mixing = engine.tensor(mixing_matrix(deep.to(conv.weight)))
        self.tap_bias = engine.tensor(tap_bias.permute(2, 1, 0).flatten().to(conv.weight))
        self.gates = Gates(engine, block.model[1], block.model[2])

    def __call__(self, low: Tensor, skip: Tensor) -> Tensor:
        """cat[own, other] at the low and at the high resolution to (B, out, H, W), not yet split."""
        result = self.skip(skip)
        height, width = (Axis(low.shape[d], skip.shape[d], doubled=True) for d in (2, 3))
        for picture, deep in zip(result, low, strict=True):
            add_resized_convs(picture, [ResizedConv(deep, self.mixing, height, width, self.tap_bias)])
        return attend(self.gates, result)


class FastOldU:
    """`OldUNetwork` from the pre-activations of its first blocks on."""

    def __init__(self, engine: Engine, network: OldUNetwork) -> None:
        def both(name: str) -> tuple[nn.Module, nn.Module]:
            return network.get_submodule(f"{name}_1"), network.get_submodule(f"{name}_2")

        self.engine = engine
        self.first = [self._first_gates(block) for block in both("inc")]
        self.downs = [[FastDown(engine, block) for block in both(f"down{k}")] for k in range(1, 5)]
        self.ups = [[FastUp(engine, block) for block in both(f"up{k}")] for k in range(1, 5)]
        self.outs = [self._out(block) for block in both("outc")]

    def _first_gates(self, block: nn.Module) -> Gates:
        assert isinstance(block, FirstBlock)
        return Gates(self.engine, block.model[1], block.model[2])

    def _out(self, block: nn.Module) -> MergedConv:
        assert isinstance(block, OldOut)
        assert block.conv.bias is not None
        self.squash = block.squash
        return MergedConv(self.engine, block.fusion, block.conv.weight, block.conv.bias)

    def __call__(self, left: Tensor, right: Tensor) -> TwoStreams:
        """First pre-activations (B, width, H, W), which are overwritten, to two images in float32."""
        levels = [self._cross(attend(self.first[0], left), attend(self.first[1], right))]
        for down in self.downs:
            levels.append(self._cross(down[0](levels[-1][0]), down[1](levels[-1][1])))
        x = levels.pop()
        for up in self.ups:
            skip = levels.pop()
            x = self._cross(up[0](x[0], skip[0]), up[1](x[1], skip[1]))
        images = self.outs[0](x[0]).float(), self.outs[1](x[1]).float()
        return (images[0].sigmoid_(), images[1].sigmoid_()) if self.squash else images

    def _cross(self, one: Tensor, two: Tensor) -> TwoStreams:
        return parts_buffer(self.engine, one, two), parts_buffer(self.engine, two, one)


def attend(gates: Gates, x: Tensor) -> Tensor:
    """Pixel and channel attention in place."""
    return x.mul_(gates.scale_pixels(x))

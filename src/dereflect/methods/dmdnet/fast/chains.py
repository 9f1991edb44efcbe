"""What lies between two products of a block: single PyTorch calls, or one pass in bfloat16 on a CPU."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from dereflect.nn import fused
from dereflect.nn.bands import Border, depthwise
from dereflect.nn.mugi import ChannelNorm


class Chains:
    """Chains on any device and in any dtype.

    Bands are (B, C, h, W), and carry a neighbouring row where they have one.
    """

    def norm(self, norm: ChannelNorm, x: Tensor) -> Tensor:
        """Layer norm over the channels."""
        return norm(x)

    def gelu_gate(self, conv: nn.Conv2d, x: Tensor, border: Border) -> Tensor:
        """Depthwise convolution, then GELU of the first half of the channels times the second."""
        gate, value = depthwise(conv, x, border).chunk(2, dim=1)
        return F.gelu(gate).mul_(value)

    def silu(self, conv: nn.Conv2d, x: Tensor, border: Border, out: Tensor | None) -> Tensor:
        """Depthwise convolution and SiLU, in `out` if it can be."""
        return F.silu(depthwise(conv, x, border))

    def gated_norm(self, norm: nn.LayerNorm, y: Tensor, gate: Tensor) -> Tensor:
        """norm(y) * silu(gate), (B, h, W, C); y is (B, C, h, W), and gate may be overwritten."""
        return norm(y.permute(0, 2, 3, 1)).to(gate.dtype) * F.silu(gate)


class FusedChains(Chains):
    """In bfloat16 on a CPU."""

    def norm(self, norm: ChannelNorm, x: Tensor) -> Tensor:
        """See `Chains`."""
        return fused.normed(x, norm)

    def gelu_gate(self, conv: nn.Conv2d, x: Tensor, border: Border) -> Tensor:
        """See `Chains`."""
        return fused.gelu_gate(x, fused.Taps.of(conv), border)

    def silu(self, conv: nn.Conv2d, x: Tensor, border: Border, out: Tensor | None) -> Tensor:
        """See `Chains`; the result is float32."""
        return fused.silu(x, fused.Taps.of(conv), border, out)

    def gated_norm(self, norm: nn.LayerNorm, y: Tensor, gate: Tensor) -> Tensor:
        """See `Chains`."""
        return fused.gated_norm_(gate, y, norm)


def chains_for(x: Tensor) -> Chains:
    """The fastest chains for the streams of a block."""
    return FusedChains() if fused.usable(x) else Chains()


def grown(layer: nn.Module, x: Tensor) -> Tensor:
    """Double the size, 1x1 convolution, leaky ReLU: convolved first, which is equal but cheaper."""
    conv, act = layer.children()
    return act(F.interpolate(conv(x), scale_factor=2, mode="bilinear", align_corners=False))


def of_one_channel(layer: nn.Module, x: Tensor) -> Tensor:
    """3x3 convolution and leaky ReLU of (B, 1, H, W); on a CPU as the product that it is.

    Of a single channel the layout is unknown, and PyTorch guesses it wrongly.
    """
    if x.device.type != "cpu":
        return layer(x)
    conv, act = layer.children()
    assert isinstance(conv, nn.Conv2d)
    pixels = F.unfold(x, 3, padding=1).transpose(1, 2)
    y = act(F.linear(pixels, conv.weight.flatten(1), conv.bias))
    return y.transpose(1, 2).unflatten(2, x.shape[2:])

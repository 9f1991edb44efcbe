"""The few operations of which the fast networks are made, in the layout that suits device and dtype."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dereflect.methods.ytmt.blocks import ChannelAttention, PixelAttention
from dereflect.methods.ytmt.fast.resized import upsample_into
from dereflect.nn.convolution import conv3x3, prefers_winograd


@dataclass(frozen=True)
class Engine:
    """Where and in which dtype to compute."""

    device: torch.device
    dtype: torch.dtype

    @property
    def channels_first(self) -> bool:
        """Layout of activations: channels-first for Winograd's algorithm, else channels-last."""
        return prefers_winograd(self.dtype, self.device)

    @property
    def layout(self) -> torch.memory_format:
        """The memory format of activations."""
        return torch.contiguous_format if self.channels_first else torch.channels_last

    def tensor(self, x: Tensor) -> Tensor:
        """A weight or a picture, moved and converted; four-dimensional ones are laid out."""
        moved = x.detach().to(self.device, self.dtype)
        return moved.contiguous(memory_format=self.layout) if moved.dim() == 4 else moved

    def empty(self, batch: int, channels: int, height: int, width: int) -> Tensor:
        """An uninitialised activation."""
        return torch.empty(
            batch, channels, height, width, dtype=self.dtype, device=self.device, memory_format=self.layout
        )

    def conv1(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """1x1 convolution of (B, C, H, W) with (O, C, 1, 1)."""
        if not self.channels_first:
            return F.conv2d(x, weight, bias)
        flat = torch.baddbmm(bias[None, :, None], weight.flatten(1).expand(len(x), -1, -1), x.flatten(2))
        return flat.view(len(x), -1, *x.shape[2:])

    def pool(self, x: Tensor) -> Tensor:
        """2x2 max-pool of (B, C, H, W); an odd last row or column is dropped."""
        if not self.channels_first:
            return F.max_pool2d(x, 2)
        h, w = (
            x.shape[2] // 2 * 2,
            x.shape[3] // 2 * 2,
        )  # rows, then columns: several times faster than max_pool2d
        rows = torch.maximum(x[:, :, 0:h:2, :w], x[:, :, 1:h:2, :w])
        return torch.maximum(rows[..., 0::2], rows[..., 1::2])

    def doubled(self, out: Tensor, low: Tensor) -> None:
        """Write `low`, doubled in size (corners aligned) and zero-padded, into `out`."""
        if self.channels_first:
            upsample_into(out, low)
            return
        h, w = 2 * low.shape[2], 2 * low.shape[3]
        out[:, :, :h, :w] = F.interpolate(low, scale_factor=2, mode="bilinear", align_corners=True)
        out[:, :, h:].zero_()
        out[:, :, :, w:].zero_()


class Conv:
    """A convolution's weights, made ready for an engine."""

    def __init__(self, engine: Engine, weight: Tensor, bias: Tensor | None) -> None:
        self.engine = engine
        self.weight = engine.tensor(weight)
        self.bias = engine.tensor(weight.new_zeros(weight.shape[0]) if bias is None else bias)

    @classmethod
    def of(cls, engine: Engine, module: nn.Module) -> Conv:
        """The weights of a `Conv2d`."""
        assert isinstance(module, nn.Conv2d)
        return cls(engine, module.weight, module.bias)

    def __call__(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        """Convolve; `gate` (1, C, 1, 1) scales the input's channels, by way of the weights."""
        weight = self.weight if gate is None else self.weight * gate
        if self.weight.shape[-1] == 1:
            return self.engine.conv1(x, weight, self.bias)
        return conv3x3(x, weight, self.bias)


class Gates:
    """Pixel attention and the gate of channel attention."""

    def __init__(self, engine: Engine, pixel: nn.Module, channel: nn.Module) -> None:
        assert isinstance(pixel, PixelAttention)
        assert isinstance(channel, ChannelAttention)
        self.pixel = Conv.of(engine, pixel.pa[0]), Conv.of(engine, pixel.pa[2])
        self.channel = Conv.of(engine, channel.ca[0]), Conv.of(engine, channel.ca[2])

    def scale_pixels(self, x: Tensor) -> Tensor:
        """Scale `x` by its pixel gate in place; return the channel gate (B, C, 1, 1), not yet applied."""
        x.mul_(self.pixel[1](self.pixel[0](x).relu_()).sigmoid_())
        mean = x.mean(dim=(2, 3), keepdim=True)
        return self.channel[1](self.channel[0](mean).relu_()).sigmoid_()


def parts_buffer(engine: Engine, own: Tensor, other: Tensor, other_kept: bool = False) -> Tensor:
    """cat[max(own, 0), min(other, 0)] without intermediate tensors.

    With `other_kept`, the other's positive part takes the place of its negative one.
    """
    channels = own.shape[1]
    buffer = engine.empty(own.shape[0], 2 * channels, own.shape[2], own.shape[3])
    torch.clamp_min(own, 0, out=buffer[:, :channels])
    (torch.clamp_min if other_kept else torch.clamp_max)(other, 0, out=buffer[:, channels:])
    return buffer

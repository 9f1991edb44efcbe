"""Fidelity-guided feature modulation: the input's encoder maps repair the decoded transmission.

arXiv 2606.04107.

The blocks sit in front of the first three up blocks of Stable Diffusion's decoder:
``out = dec + w * E3(E2(E1([enc, dec])))``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F


class ResBlock(nn.Module):
    """Norm, SiLU, convolution, twice, plus a skip that is a 1x1 convolution where the widths differ."""

    def __init__(self, inputs: int, outputs: int, groups: int = 32) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs, eps=1e-6)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, outputs, eps=1e-6)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        if inputs != outputs:
            self.conv_out = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        hidden = self.conv1(F.silu(self.norm1(x)))
        hidden = self.conv2(F.silu(self.norm2(hidden)))
        return (self.conv_out(x) if hasattr(self, "conv_out") else x) + hidden


class DenseBlock(nn.Module):
    """Five convolutions, each seeing all earlier maps; returns ``x + 0.2 * conv5``."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        for index in range(4):
            setattr(self, f"conv{index + 1}", nn.Conv2d(channels + index * growth, growth, 3, padding=1))
        self.conv5 = nn.Conv2d(channels + 4 * growth, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        maps = x
        for index in range(4):
            grown = F.leaky_relu(getattr(self, f"conv{index + 1}")(maps), 0.2)
            maps = torch.cat([maps, grown], dim=1)
        return x + 0.2 * self.conv5(maps)


class RRDB(nn.Module):
    """Residual in residual dense block: three dense blocks, ``x + 0.2 * result``."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(channels, growth)
        self.rdb2 = DenseBlock(channels, growth)
        self.rdb3 = DenseBlock(channels, growth)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return x + 0.2 * self.rdb3(self.rdb2(self.rdb1(x)))


class FuseBlock(nn.Module):
    """One fusion block; names as in the published file.

    Args:
        encoder_channels: width of the encoder's map.
        decoder_channels: width of the decoder's map, which is also the result's.
        growth: width of the dense block's inner convolutions.
        groups: of the group norms.
    """

    def __init__(
        self, encoder_channels: int, decoder_channels: int, growth: int = 32, groups: int = 32
    ) -> None:
        super().__init__()
        self.encode_enc_1 = ResBlock(encoder_channels + decoder_channels, decoder_channels, groups)
        self.encode_enc_2 = nn.Sequential(RRDB(decoder_channels, growth))
        self.encode_enc_3 = ResBlock(decoder_channels, decoder_channels, groups)
        self._initialise()

    def _initialise(self) -> None:
        # As published. A fresh block is NOT neutral: E2 and E1's second branch are at work from the start.
        for module in self.encode_enc_2.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                with torch.no_grad():
                    module.weight.mul_(0.1)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        for name, module in (("conv_out", self.encode_enc_1), ("conv2", self.encode_enc_3)):
            layer = getattr(module, name, None)
            if isinstance(layer, nn.Conv2d):
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, encoded: Tensor, decoded: Tensor, weight: float) -> Tensor:
        """Maps of equal height and width, (B, E, H, W) and (B, D, H, W), to (B, D, H, W)."""
        fused = self.encode_enc_1(torch.cat([encoded, decoded], dim=1))
        return decoded + weight * self.encode_enc_3(self.encode_enc_2(fused))


class FidelityFusion(ModelMixin, ConfigMixin):
    """The fusion blocks of a decoder, in the order of its up blocks.

    Args:
        encoder_channels: widths of the encoder's maps, smallest map first.
        decoder_channels: widths of the decoder's maps in front of the same up blocks.
        growth: width of the dense blocks' inner convolutions.
        groups: of the group norms.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        encoder_channels: Sequence[int] = (512, 256, 128),
        decoder_channels: Sequence[int] = (512, 512, 512),
        growth: int = 32,
        groups: int = 32,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            FuseBlock(encoder, decoder, growth, groups)
            for encoder, decoder in zip(encoder_channels, decoder_channels, strict=True)
        )

    @classmethod
    def for_autoencoder(cls, widths: Sequence[int], growth: int = 32, groups: int = 32) -> FidelityFusion:
        """Fresh blocks that fit an ``AutoencoderKL`` with these ``block_out_channels``."""
        backwards = list(widths)[::-1]
        # By keyword: diffusers takes positional settings for defaults, and drops them when it copies.
        return cls(
            encoder_channels=backwards[1:],
            decoder_channels=[backwards[0], *backwards[:-2]],
            growth=growth,
            groups=groups,
        )

    def forward(self, index: int, encoded: Tensor, decoded: Tensor, weight: float) -> Tensor:
        """Fuse in front of up block `index`; see `FuseBlock`."""
        dtype = decoded.dtype
        return self.blocks[index](encoded.to(dtype), decoded, weight)

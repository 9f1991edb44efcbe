"""The default model's network: two exchanging streams at a quarter of the resolution, on features of a
trained encoder.

The exchange is that of Y. Hu and X. Guo, "Trash or Treasure? An Interactive Dual-Stream Strategy for Single
Image Reflection Separation" (NeurIPS 2021): what one stream's rectifier discards is handed to the other. The
rest is ours, and made for a CPU: nearly all work is in dense convolutions at 1/4, 1/8 and 1/16 of the photo's
size, context comes from a trained encoder, and the transmission is a correction of the photo, so that fine
detail is never lost on the way through the small scales.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dereflect.nn.encoder import CHANNELS, HalfResNet50
from dereflect.nn.exchange import Exchange, ExchangeHead


@dataclass(frozen=True)
class DefaultConfig:
    """Shape of the network. Widths are per stream."""

    widths: tuple[int, int, int] = (64, 96, 160)
    """Channels at 1/4, 1/8 and 1/16."""
    encoder_blocks: tuple[int, int, int] = (2, 2, 4)
    """Exchange blocks on the way down, at 1/4, 1/8 and 1/16."""
    decoder_blocks: tuple[int, int] = (3, 2)
    """Exchange blocks on the way up, at 1/4 and 1/8."""
    head_width: int = 32
    """Channels at 1/2, where the layers are drawn."""
    head_blocks: int = 1
    features: bool = True
    """Whether the trained encoder's features are used."""


class ExchangeBlock(nn.Module):
    """Residual block of two streams: a 3x3 convolution each, the exchange, a channel gate and a 1x1
    convolution each.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spatial_t = nn.Conv2d(width, width, 3, padding=1)
        self.spatial_r = nn.Conv2d(width, width, 3, padding=1)
        self.exchange = ExchangeHead(Exchange.ADDITIVE, width)
        self.gate = nn.Linear(2 * width, 2 * width)
        self.mix_t = nn.Conv2d(width, width, 1)
        self.mix_r = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)
        for mix in (self.mix_t, self.mix_r):
            mix.weight.data.mul_(0.3)

    def forward(self, t: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        """Both streams (B, width, H, W) -> the same."""
        t_new, r_new = self.exchange(self.spatial_t(t), self.spatial_r(r))
        # A gate from the whole picture's mean: how strong the reflection is, and its colour, are
        # global questions.
        pooled = torch.cat([t_new.mean((2, 3)), r_new.mean((2, 3))], dim=1)
        gate_t, gate_r = (2 * torch.sigmoid(self.gate(pooled)))[:, :, None, None].chunk(2, dim=1)
        return t + self.mix_t(t_new * gate_t), r + self.mix_r(r_new * gate_r)


class Streams(nn.Module):
    """A row of exchange blocks."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ExchangeBlock(width) for _ in range(blocks))

    def forward(self, t: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        """Both streams (B, width, H, W) -> the same."""
        for block in self.blocks:
            t, r = block(t, r)
        return t, r


class FeatureEntry(nn.Module):
    """Encoder features into both streams: normalised over channels, then one 1x1 convolution to two streams'
    width.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.project = nn.Conv2d(channels, 2 * width, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, 2 * width, H, W)."""
        # Normalised per pixel, so that a tile and the whole photo see the same numbers.
        x = self.norm(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.project(x)


class DefaultNetwork(nn.Module):
    """Two-stream separation network. H and W must be multiples of 32."""

    def __init__(self, config: DefaultConfig) -> None:
        super().__init__()
        self.config = config
        first, second, third = config.widths
        head = config.head_width
        self.encoder = HalfResNet50() if config.features else None
        if config.features:
            self.enter = nn.ModuleList(
                FeatureEntry(channels, width)
                for channels, width in zip(CHANNELS, (first, second, third, third), strict=True)
            )
        self.stem = nn.Conv2d(12, head, 3, padding=1)  # at 1/2, shared by both streams
        self.into = nn.Conv2d(4 * head, 2 * first, 1)  # 1/2 -> 1/4
        self.down1 = Streams(first, config.encoder_blocks[0])
        self.to2 = nn.ModuleList(nn.Conv2d(4 * first, second, 1) for _ in range(2))
        self.down2 = Streams(second, config.encoder_blocks[1])
        self.to3 = nn.ModuleList(nn.Conv2d(4 * second, third, 1) for _ in range(2))
        self.middle = Streams(third, config.encoder_blocks[2])
        self.back2 = nn.ModuleList(nn.Conv2d(third, second, 1) for _ in range(2))
        self.up2 = Streams(second, config.decoder_blocks[1])
        self.back1 = nn.ModuleList(nn.Conv2d(second, first, 1) for _ in range(2))
        self.up1 = Streams(first, config.decoder_blocks[0])
        self.back0 = nn.ModuleList(nn.Conv2d(first, head, 1) for _ in range(2))
        self.draw = Streams(head, config.head_blocks)
        out_t, out_r = nn.Conv2d(head, 12, 3, padding=1), nn.Conv2d(head, 12, 3, padding=1)
        for out in (out_t, out_r):
            nn.init.normal_(out.weight, std=1e-3)
            nn.init.zeros_(out.bias)  # type: ignore[arg-type]
        self.out = nn.ModuleList([out_t, out_r])

    def forward(self, image: Tensor, features: list[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Separate a batch.

        Args:
            image: (B, 3, H, W) in [0, 1].
            features: the encoder's maps of `image`, where the caller has them already.

        Returns:
            (transmission, reflection), (B, 3, H, W), not clamped. The reflection is its contribution to the
            photo.
        """
        half = F.relu(self.stem(F.pixel_unshuffle(image, 2)))  # (B, head, H/2, W/2)
        both = self.into(F.pixel_unshuffle(half, 2))  # (B, 2 * first, H/4, W/4)
        if self.encoder is not None:
            maps = self.encoder(image) if features is None else features
            entries = [enter(feature) for enter, feature in zip(self.enter, maps, strict=True)]
            both = both + entries[0]
        t1, r1 = self.down1(*both.chunk(2, dim=1))
        t2, r2 = (to(F.pixel_unshuffle(x, 2)) for to, x in zip(self.to2, (t1, r1), strict=True))
        if self.encoder is not None:
            t2, r2 = _add_halves(t2, r2, entries[1])
        t2, r2 = self.down2(t2, r2)
        t3, r3 = (to(F.pixel_unshuffle(x, 2)) for to, x in zip(self.to3, (t2, r2), strict=True))
        if self.encoder is not None:
            t3, r3 = _add_halves(t3, r3, entries[2] + _double(entries[3]))
        t3, r3 = self.middle(t3, r3)
        t2, r2 = (x + _double(back(y)) for back, x, y in zip(self.back2, (t2, r2), (t3, r3), strict=True))
        t2, r2 = self.up2(t2, r2)
        t1, r1 = (x + _double(back(y)) for back, x, y in zip(self.back1, (t1, r1), (t2, r2), strict=True))
        t1, r1 = self.up1(t1, r1)
        t0, r0 = (half + _double(back(y)) for back, y in zip(self.back0, (t1, r1), strict=True))
        t0, r0 = self.draw(t0, r0)
        t, r = (F.pixel_shuffle(out(x), 2).float() for out, x in zip(self.out, (t0, r0), strict=True))
        return image.float() + t, r


def _add_halves(t: Tensor, r: Tensor, both: Tensor) -> tuple[Tensor, Tensor]:
    own, other = both.chunk(2, dim=1)
    return t + own, r + other


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

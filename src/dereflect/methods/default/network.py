"""The default model's network: two exchanging streams on features of a trained encoder.

The streams work at a quarter of the resolution.

The exchange is that of Y. Hu and X. Guo, "Trash or Treasure? An Interactive Dual-Stream Strategy for Single
Image Reflection Separation" (NeurIPS 2021): what one stream's rectifier discards is handed to the other. The
rest is ours, and made for a CPU: nearly all work is in dense convolutions at 1/4, 1/8 and 1/16 of the photo's
size, context comes from a trained encoder, and the transmission is a correction of the photo, so that fine
detail is never lost on the way through the small scales.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dereflect.nn import encoder as open_nsfw
from dereflect.nn import lite
from dereflect.nn.enlarging import double
from dereflect.nn.exchange import Exchange, ExchangeHead
from dereflect.nn.means import picture_mean

ENCODERS: dict[str, tuple[type[nn.Module], tuple[int, ...]]] = {
    "open_nsfw": (open_nsfw.HalfResNet50, open_nsfw.CHANNELS),
    "lite2": (lite.EfficientNetLite2, lite.CHANNELS),
}
"""Trained encoders by name: the module, and the channels of its maps at 1/4, 1/8, 1/16 and 1/32."""


@dataclass(frozen=True)
class DefaultConfig:
    """Shape of the network. Widths are per stream."""

    widths: tuple[int, int, int] = (64, 96, 160)
    """Channels at 1/4, 1/8 and 1/16."""
    encoder_blocks: tuple[int, int, int] = (2, 2, 6)
    """Exchange blocks on the way down, at 1/4, 1/8 and 1/16."""
    decoder_blocks: tuple[int, int] = (3, 2)
    """Exchange blocks on the way up, at 1/4 and 1/8."""
    head_width: int = 32
    """Channels at 1/2, where the layers are drawn."""
    head_blocks: int = 1
    encoder: str = "lite2"
    """The trained encoder whose features are used, by its name in `ENCODERS`; "": none."""
    second_encoder: str = ""
    """Another one beside it."""
    tone: bool = True
    """Whether six numbers of the whole picture (gain and offset of each channel) modulate all features; they
    are read from an encoder's, so there must be one."""
    remainder: bool = False
    """Whether a third layer takes what is neither transmission nor reflection: I = T + R + N."""
    detail_width: int = 0
    """Channels of the last layers at full size, which decide pixel by pixel; 0: none."""


class ExchangeBlock(nn.Module):
    """Residual block of two streams.

    A 3x3 convolution each, the exchange, a channel gate and a 1x1 convolution each.
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
        pooled = torch.cat([picture_mean(t_new), picture_mean(r_new)], dim=1)
        gate_t, gate_r = (2 * torch.sigmoid(self.gate(pooled)))[:, :, None, None].chunk(2, dim=1)
        return t + self.mix_t(t_new * gate_t), r + self.mix_r(r_new * gate_r)


class ExchangeRow(nn.Module):
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
    """Encoder features into both streams.

    Normalised over channels, then one 1x1 convolution to two streams' width.
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


class Tone(nn.Module):
    """Six numbers of the whole picture, and what they mean to the features.

    The numbers are the gain and offset that bring each channel of the photo nearest to the transmission;
    they become a scale and a shift of every channel of both streams. That global tone helps most as a
    modulation of features is a finding of H. Zhao et al., "Reversible Decoupling Network for Single Image
    Reflection Removal" (CVPR 2025).
    """

    def __init__(self, channels: int, widths: tuple[int, ...], hidden: int = 64) -> None:
        super().__init__()
        self.judge = nn.Sequential(nn.Linear(channels + 6, hidden), nn.ReLU(), nn.Linear(hidden, 6))
        self.tell = nn.Sequential(nn.Linear(6, hidden), nn.ReLU())
        self.modulate = nn.ModuleList(nn.Linear(hidden, 4 * width) for width in widths)
        for linear in (self.judge[2], *self.modulate):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, image: Tensor, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The six numbers, and the scales and shifts of every place.

        Args:
            image: (B, 3, H, W).
            features: (B, channels, h, w).

        Returns:
            (B, 6) gains less 1, then offsets; and (B, 4 * width) for each width.
        """
        means = [image.mean((2, 3)), image.std((2, 3)), features.mean((2, 3))]
        six = self.judge(torch.cat(means, dim=1))
        told = self.tell(six)
        return six, [modulate(told) for modulate in self.modulate]


class Estimate(NamedTuple):
    """What the network says of a batch, (B, 3, H, W) each, not clamped."""

    transmission: Tensor
    reflection: Tensor
    remainder: Tensor | None
    """What is neither: I - T - R as the network expects it, in [-1, 1]."""
    tone: Tensor | None
    """(B, 6): gains less 1, then offsets, of red, green and blue; T is near (1 + gain) I + offset."""


class DefaultNetwork(nn.Module):
    """Two-stream separation network. H and W must be multiples of 32."""

    def __init__(self, config: DefaultConfig) -> None:
        super().__init__()
        self.config = config
        first, second, third = config.widths
        head = config.head_width
        self.encoder, self.enter = _features(config.encoder, config.widths)
        self.encoder2, self.enter2 = _features(config.second_encoder, config.widths)
        self.stem = nn.Conv2d(12, head, 3, padding=1)  # at 1/2, shared by both streams
        self.into = nn.Conv2d(4 * head, 2 * first, 1)  # 1/2 -> 1/4
        self.down1 = ExchangeRow(first, config.encoder_blocks[0])
        self.to2 = nn.ModuleList(nn.Conv2d(4 * first, second, 1) for _ in range(2))
        self.down2 = ExchangeRow(second, config.encoder_blocks[1])
        self.to3 = nn.ModuleList(nn.Conv2d(4 * second, third, 1) for _ in range(2))
        self.middle = ExchangeRow(third, config.encoder_blocks[2])
        self.back2 = nn.ModuleList(nn.Conv2d(third, second, 1) for _ in range(2))
        self.up2 = ExchangeRow(second, config.decoder_blocks[1])
        self.back1 = nn.ModuleList(nn.Conv2d(second, first, 1) for _ in range(2))
        self.up1 = ExchangeRow(first, config.decoder_blocks[0])
        self.back0 = nn.ModuleList(nn.Conv2d(first, head, 1) for _ in range(2))
        self.draw = ExchangeRow(head, config.head_blocks)
        self.out = nn.ModuleList(_silent(nn.Conv2d(head, 12, 3, padding=1)) for _ in range(2))
        places = (first, second, third, second, first, head)
        self.tone = Tone(2 * third, places) if config.tone and config.encoder else None
        self.rest = _silent(nn.Conv2d(head, 12, 3, padding=1)) if config.remainder else None
        self.detail = Detail(head, config.detail_width) if config.detail_width else None

    def encoders(self) -> Iterator[nn.Module]:
        """The trained encoders, in the configuration's order."""
        yield from (encoder for encoder in (self.encoder, self.encoder2) if encoder is not None)

    def forward(self, image: Tensor) -> Estimate:
        """Separate a batch (B, 3, H, W) in [0, 1]. The reflection is its contribution to the photo."""
        half = F.relu(self.stem(F.pixel_unshuffle(image, 2)))  # (B, head, H/2, W/2)
        both = self.into(F.pixel_unshuffle(half, 2))  # (B, 2 * first, H/4, W/4)
        entries, first = self._enter(image), self.config.widths[0]
        six: Tensor | None = None
        places: list[Tensor | None] = [None] * 6
        if entries:
            both = both + entries[0]
            deepest = entries[2] + double(entries[3])
            if self.tone is not None:
                six, places = self.tone(image, deepest)
        t1, r1 = self.down1(*_modulated(both[:, :first], both[:, first:], places[0]))
        t2, r2 = (to(F.pixel_unshuffle(x, 2)) for to, x in zip(self.to2, (t1, r1), strict=True))
        if entries:
            t2, r2 = _add_halves(t2, r2, entries[1])
        t2, r2 = self.down2(*_modulated(t2, r2, places[1]))
        t3, r3 = (to(F.pixel_unshuffle(x, 2)) for to, x in zip(self.to3, (t2, r2), strict=True))
        if entries:
            t3, r3 = _add_halves(t3, r3, deepest)
        t3, r3 = self.middle(*_modulated(t3, r3, places[2]))
        t2, r2 = (x + double(back(y)) for back, x, y in zip(self.back2, (t2, r2), (t3, r3), strict=True))
        t2, r2 = self.up2(*_modulated(t2, r2, places[3]))
        t1, r1 = (x + double(back(y)) for back, x, y in zip(self.back1, (t1, r1), (t2, r2), strict=True))
        t1, r1 = self.up1(*_modulated(t1, r1, places[4]))
        t0, r0 = (half + double(back(y)) for back, y in zip(self.back0, (t1, r1), strict=True))
        t0, r0 = self.draw(*_modulated(t0, r0, places[5]))
        t, r = (F.pixel_shuffle(out(x), 2) for out, x in zip(self.out, (t0, r0), strict=True))
        if self.detail is not None:
            fine_t, fine_r = self.detail(image, t0, r0)
            t, r = t + fine_t, r + fine_r
        rest = None if self.rest is None else torch.tanh(F.pixel_shuffle(self.rest(t0 + r0), 2).float())
        return Estimate(image.float() + t.float(), r.float(), rest, six)

    def _enter(self, image: Tensor) -> list[Tensor]:
        """Maps of the trained encoders in both streams' widths, at 1/4, 1/8, 1/16 and 1/32."""
        entered: list[Tensor] = []
        for encoder, enter in ((self.encoder, self.enter), (self.encoder2, self.enter2)):
            if encoder is None or enter is None:
                continue
            new = [entry(map) for entry, map in zip(enter, encoder(image), strict=True)]
            entered = [a + b for a, b in zip(entered, new, strict=True)] if entered else new
        return entered


class Detail(nn.Module):
    """Two small convolutions at full size: what the small scales have judged, decided pixel by pixel."""

    def __init__(self, head: int, width: int) -> None:
        super().__init__()
        self.enlarge = nn.Conv2d(2 * head, 4 * width, 1)
        self.mix = nn.Conv2d(width + 3, width, 3, padding=1)
        self.out = _silent(nn.Conv2d(width, 6, 3, padding=1))

    def forward(self, image: Tensor, t: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) and both streams at 1/2 -> corrections of both layers, (B, 3, H, W)."""
        x = F.pixel_shuffle(self.enlarge(torch.cat([t, r], dim=1)), 2)
        x = F.relu(self.mix(torch.cat([x, image], dim=1)))
        fine_t, fine_r = self.out(x).chunk(2, dim=1)
        return fine_t, fine_r


def _features(name: str, widths: tuple[int, int, int]) -> tuple[nn.Module | None, nn.ModuleList | None]:
    """A trained encoder and its entries into both streams; (None, None) for no name."""
    if not name:
        return None, None
    build, channels = ENCODERS[name]
    places = zip(channels, (*widths, widths[2]), strict=True)
    return build(), nn.ModuleList(FeatureEntry(count, width) for count, width in places)


def _silent(conv: nn.Conv2d) -> nn.Conv2d:
    """A last convolution that begins by saying nothing."""
    nn.init.normal_(conv.weight, std=1e-3)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


def _modulated(t: Tensor, r: Tensor, place: Tensor | None) -> tuple[Tensor, Tensor]:
    """Both streams with the tone's scale and shift of every channel."""
    if place is None:
        return t, r
    scale_t, shift_t, scale_r, shift_r = place[:, :, None, None].chunk(4, dim=1)
    return t + t * scale_t + shift_t, r + r * scale_r + shift_r


def _add_halves(t: Tensor, r: Tensor, both: Tensor) -> tuple[Tensor, Tensor]:
    own, other = both.chunk(2, dim=1)
    return t + own, r + other

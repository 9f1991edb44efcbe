"""A 3x3 convolution of a resized picture, computed at the picture's own, lower resolution.

conv3x3(resize(x)) is linear in x. Mixing channels first (a matrix product for all nine taps at once) and
resizing afterwards gives the same sum with fewer products, because there are fewer low-resolution pixels.
Resizing is separable, and together with the three shifts of a kernel row (zero outside of the picture) it is
one sparse matrix for each axis, which is applied in dense blocks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

BLOCK = 64
"""Output columns or rows that share one dense block."""
STRIP_VALUES = 1 << 21
"""About how many mixed values are held before they are widened: a few megabytes, so that they stay in
cache.
"""


@dataclass(frozen=True)
class Axis:
    """How one axis is resized before the convolution.

    low: its length. high: its length after resizing and padding. doubled: False for "bilinear, corners not
    aligned, to the length `high`"; True for "bilinear, corners aligned, to twice `low`", then zeros up to
    `high`.
    """

    low: int
    high: int
    doubled: bool = False


@dataclass(frozen=True)
class Block:
    """Outputs `start` to `stop` as a matrix times inputs `first` to `last`.

    Each input comes `taps` times in a row.
    """

    start: int
    stop: int
    first: int
    last: int
    matrix: Tensor


@lru_cache(maxsize=128)
def blocks(axis: Axis, taps: int, dtype: torch.dtype, device: torch.device) -> tuple[Block, ...]:
    """The axis's matrix in blocks.

    Input index is low position * taps + tap; tap t reads output position X + t - 1.

    With one tap this is the resizing alone.
    """
    valid = 2 * axis.low if axis.doubled else axis.high
    positions = torch.arange(valid, dtype=torch.float64)
    if axis.doubled:
        source = positions * ((axis.low - 1) / (valid - 1))
    else:
        source = ((positions + 0.5) * (axis.low / axis.high) - 0.5).clamp_min(0)
    below = source.floor().long().clamp_max(axis.low - 1)
    above = (below + 1).clamp_max(axis.low - 1)
    share = source - below
    result = []
    for start in range(0, axis.high, BLOCK):
        stop = min(start + BLOCK, axis.high)
        reach = taps // 2
        inside = range(max(start - reach, 0), min(stop + reach, valid))
        first, last = (int(below[inside[0]]), int(above[inside[-1]]) + 1) if inside else (0, 1)
        matrix = torch.zeros(stop - start, last - first, taps, dtype=torch.float64)
        for tap in range(taps):
            read = torch.arange(start, stop) + tap - reach
            rows = torch.nonzero((read >= 0) & (read < valid)).flatten()
            read = read[rows]
            tap_index = torch.full_like(rows, tap)
            matrix.index_put_((rows, below[read] - first, tap_index), 1 - share[read], accumulate=True)
            matrix.index_put_((rows, above[read] - first, tap_index), share[read], accumulate=True)
        result.append(Block(start, stop, first, last, matrix.flatten(1).to(device, dtype)))
    return tuple(result)


def mixing_matrix(weight: Tensor) -> Tensor:
    """(O, C, 3, 3) convolution weights as (C, 9 O): column index is tap column, tap row, output channel."""
    return weight.permute(1, 3, 2, 0).flatten(1).contiguous()


def add_resized_convs(out: Tensor, parts: Iterable[ResizedConv]) -> None:
    """Add the convolutions of several resized pictures to `out` (O, H, W), in place.

    The sum is gathered channels-last, which is the layout that the products give, and turned once if need be.
    """
    pixels = out.permute(1, 2, 0)
    in_place = pixels.is_contiguous()
    total = pixels if in_place else torch.empty_like(pixels, memory_format=torch.contiguous_format)
    started = in_place
    for part in parts:
        part.add_to(total, overwrite=not started)
        started = True
    if started and not in_place:
        flat = torch.empty_like(out, memory_format=torch.contiguous_format).flatten(1)
        out += flat.copy_(total.view(-1, total.shape[2]).t()).view(out.shape)


@dataclass(frozen=True)
class ResizedConv:
    """A picture (C, h, w) in any layout, to be resized and convolved.

    mixing: (C, 9 O) from `mixing_matrix`. bias: (9 O,) added after the mixing, i.e. to the resized picture
    but not to the padding around it.
    """

    x: Tensor
    mixing: Tensor
    height: Axis
    width: Axis
    bias: Tensor | None = None

    def add_to(self, total: Tensor, overwrite: bool) -> None:
        """Add conv3x3(resize(x)) to `total` (H, W, O), contiguous."""
        widened = _mix_and_widen(self.x, self.mixing, self.width, self.bias)  # (h, 3, W, O)
        flat, rows = total.view(self.height.high, -1), widened.view(3 * self.height.low, -1)
        for block in blocks(self.height, 3, self.x.dtype, self.x.device):
            target = flat[block.start : block.stop]
            needed = rows[3 * block.first : 3 * block.last]
            if overwrite:
                torch.mm(block.matrix, needed, out=target)
            else:
                target.addmm_(block.matrix, needed)


def _mix_and_widen(x: Tensor, mixing: Tensor, width: Axis, bias: Tensor | None) -> Tensor:
    low_h, low_w, out_channels = x.shape[1], x.shape[2], mixing.shape[1] // 9
    result = x.new_empty(low_h, 3, width.high, out_channels)
    strip = max(1, STRIP_VALUES // (low_w * mixing.shape[1]))
    pixels = x.permute(1, 2, 0)
    for top in range(0, low_h, strip):
        part = pixels[top : top + strip].reshape(-1, x.shape[0])
        mixed = torch.mm(part, mixing) if bias is None else torch.addmm(bias, part, mixing)
        mixed = mixed.view(
            -1, 3 * low_w, 3 * out_channels
        )  # rows; position and tap column; tap row and channel
        for block in blocks(width, 3, x.dtype, x.device):
            needed = mixed[:, 3 * block.first : 3 * block.last]
            wide = torch.bmm(block.matrix.expand(len(mixed), -1, -1), needed)
            wide = wide.view(len(mixed), block.stop - block.start, 3, out_channels).transpose(1, 2)
            result[top : top + strip, :, block.start : block.stop] = wide
    return result


def upsample_into(out: Tensor, low: Tensor) -> None:
    """Write `low`, doubled with aligned corners and zero-padded, into `out`, channels-first.

    (B, C, h, w) into (B, C, H, W).

    The same as `blocks.upsample_to` of the plain path, as two products with a band matrix.
    """
    batch, channels, low_h, low_w = low.shape
    height, width = (
        Axis(n, high, doubled=True) for n, high in ((low_h, out.shape[2]), (low_w, out.shape[3]))
    )
    wide = low.new_empty(batch * channels * low_h, width.high)
    rows = low.reshape(-1, low_w)
    for block in blocks(width, 1, low.dtype, low.device):
        wide[:, block.start : block.stop] = rows[:, block.first : block.last] @ block.matrix.T
    planes = wide.view(batch, channels, low_h, width.high)
    for block in blocks(height, 1, low.dtype, low.device):
        out[:, :, block.start : block.stop] = torch.matmul(
            block.matrix, planes[:, :, block.first : block.last]
        )

"""Work in bands of rows: what is computed between two large tensors then stays in the processor's cache.

Where a chain of layers widens its input and narrows it again, whole-picture intermediates cost more time
(memory traffic, fresh pages) and memory than the arithmetic. A band of rows goes through the whole chain at
once. For inference alone: with gradients every intermediate is kept anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BYTES_AT_ONCE = 1 << 25
"""What a band may hold, intermediates included. Larger blocks go back to the system when they are
freed, and every new one costs its pages again; much smaller bands cost more calls than they save."""

LEAST_ROWS = 4
"""Below this, too much would be spent on neighbouring rows."""

Border = tuple[int, int]
"""How many rows beyond the upper and the lower end of a band are outside of the picture, so are zero."""

Part = Tensor | Sequence[Tensor]

Out = Sequence[Tensor | None]
"""Where the results of a band belong, as far as that is known beforehand."""

OutSpec = tuple[int, torch.dtype]
"""Channels and dtype of a result."""


def in_bands(
    chain: Callable[..., Part | tuple[Part, ...]],
    inputs: Sequence[Tensor],
    floats_per_pixel: int,
    halo: int = 0,
    dtype: torch.dtype | None = None,
    out_specs: Sequence[OutSpec] = (),
) -> tuple[Tensor, ...]:
    """Apply a chain of layers band by band, and join the results; where no gradient is wanted.

    Args:
        chain: takes a band of each input (and, with `halo`, the `Border`) and returns one result or a tuple
            of them: tensors (..., h, W) of the band's rows without its halo, or lists of such to be stacked
            along a new second axis.
        inputs: tensors (..., H, W) of equal H and W.
        floats_per_pixel: how many numbers the chain holds at once for each pixel of one picture.
        halo: rows of neighbours that the chain needs on both sides.
        dtype: of the results, if not what the chain gives.
        out_specs: channels and dtype of each result, if the chain can write where it is told to: it is then
            called with `out=`, an `Out` of tensors (B, C, h, W), or of None where it has to make its own.

    Returns:
        The chain's results for all rows; what was joined of bands is channels last in memory.
    """
    batch, (height, width) = inputs[0].shape[0], inputs[0].shape[-2:]
    row = batch * width * floats_per_pixel * inputs[0].element_size()
    rows = max(LEAST_ROWS, BYTES_AT_ONCE // row)
    made: list[Tensor] = []
    if out_specs and batch == 1:  # a band of one picture is a single piece
        made = [
            inputs[0].new_empty(1, height, width, channels, dtype=kind).permute(0, 3, 1, 2)
            for channels, kind in out_specs
        ]

    def band(top: int, bottom: int) -> tuple[Part, ...]:
        first, last = max(top - halo, 0), min(bottom + halo, height)
        bands = [x[..., first:last, :] for x in inputs]
        places: Out = [x[..., top:bottom, :] for x in made] if made else [None] * len(out_specs)
        more = {"out": places} if out_specs else {}
        border = (halo - (top - first), halo - (last - bottom))
        results = chain(*bands, border, **more) if halo else chain(*bands, **more)
        return results if isinstance(results, tuple) else (results,)

    if rows >= height:
        joined_at_once = (x if isinstance(x, Tensor) else _together(x, dtype) for x in band(0, height))
        return tuple(x if dtype is None else x.to(dtype) for x in joined_at_once)
    joined = made
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        parts = band(top, bottom)
        if not joined:
            joined = [_empty(part, height, dtype) for part in parts]
        for whole, part in zip(joined, parts, strict=True):
            place = whole[..., top:bottom, :]
            if not isinstance(part, Tensor):
                for k, one in enumerate(part):
                    place[:, k].copy_(one)
            elif part.data_ptr() != place.data_ptr():
                place.copy_(part)
    return tuple(joined)


def depthwise(conv: nn.Conv2d, x: Tensor, border: Border) -> Tensor:
    """A convolution that keeps the size, on a band that carries its neighbouring rows."""
    halo = conv.dilation[0]
    if border == (halo, halo):
        return F.conv2d(x, conv.weight, conv.bias, 1, halo, halo, conv.groups)
    if any(border):
        x = F.pad(x, (0, 0, *border))
    return F.conv2d(x, conv.weight, conv.bias, 1, (0, halo), halo, conv.groups)


def _together(parts: Sequence[Tensor], dtype: torch.dtype | None) -> Tensor:
    """Parts (B, C, H, W) along a new second axis, changed to a dtype on the way, in one copy."""
    whole = _empty(parts, parts[0].shape[-2], dtype)
    for k, part in enumerate(parts):
        whole[:, k].copy_(part)
    return whole


def _empty(part: Part, height: int, dtype: torch.dtype | None) -> Tensor:
    """An uninitialised tensor for the whole of which `part` (..., C, h, W) is a band."""
    one = part if isinstance(part, Tensor) else part[0]
    batch, *lead, channels, _, width = one.shape
    stack = [] if isinstance(part, Tensor) else [len(part)]
    whole = one.new_empty(batch, *stack, *lead, height, width, channels, dtype=dtype or one.dtype)
    return whole.movedim(-1, -3)

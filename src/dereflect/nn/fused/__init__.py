"""Chains of cheap steps in one pass, for bfloat16 pictures on the CPU without gradients.

What lies between two matrix products (norms, gates, depthwise convolutions) does little arithmetic; as
single PyTorch calls it is bound by memory and by the calls. Here each chain reads and writes once. Arithmetic
is float32 within a chain. `usable` says whether a tensor can be treated so; callers have another way.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

BFLOAT, LANES = torch.bfloat16, 16


@lru_cache(maxsize=1)
def _compiler() -> bool:
    return importlib.util.find_spec("numba") is not None


def usable(*tensors: Tensor) -> bool:
    """Whether (B, C, H, W) tensors can be computed with here: bfloat16 on the CPU, whole blocks of
    channels, and no gradient wanted.
    """
    fit = all(x.dtype is BFLOAT and x.device.type == "cpu" and x.shape[1] % LANES == 0 for x in tensors)
    return fit and not torch.is_grad_enabled() and _compiler()


def _rows(x: Tensor) -> Tensor:
    """The same picture with each row channels-last in one piece; bands of such pictures are taken as they
    are.
    """
    fit = x.stride(1) == 1 and x.stride(3) == x.shape[1]
    return x if fit else x.contiguous(memory_format=torch.channels_last)


def _steps(x: Tensor) -> tuple[int, int]:
    """Bytes from picture to picture and from row to row."""
    return x.stride(0) * x.element_size(), x.stride(2) * x.element_size()


def _room(batch: int, channels: int, height: int, width: int, dtype: torch.dtype = BFLOAT) -> Tensor:
    return torch.empty(batch, height, width, channels, dtype=dtype).permute(0, 3, 1, 2)


def _table(x: Tensor | None) -> Tensor:
    return torch.empty(0) if x is None else x.detach().float().contiguous().flatten()


def _run(name: str, tasks: int, *arguments: int) -> None:
    from dereflect.nn import threads
    from dereflect.nn.fused import kernels

    threads.run(getattr(kernels, name), tasks, arguments)


def norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Layer norm over the channels of (B, C, H, W)."""
    x = _rows(x)
    batch, channels, height, width = x.shape
    y, scale, shift = _room(batch, channels, height, width), _table(weight), _table(bias)
    _run(
        "norm_rows", batch * height, width, channels, height, x.data_ptr(), *_steps(x), 0, 0, y.data_ptr(),
        scale.data_ptr(), shift.data_ptr(), 0, round(eps * 1e9),
    )  # fmt: skip
    return y


def add_norm(
    x: Tensor,
    scale: Tensor,
    p: Tensor,
    norm: tuple[Tensor, Tensor, float] | None = None,
    into: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """x + scale * p, with a scale for each channel, and its layer norm by (weight, bias, eps) if wanted.

    The sum goes to `into` (contiguous, channels last), if given.
    """
    x, p = _rows(x), p.contiguous(memory_format=torch.channels_last)
    batch, channels, height, width = x.shape
    kept, factor = _room(batch, channels, height, width) if into is None else into, _table(scale)
    weight, bias = (_table(part) for part in (norm[:2] if norm else (None, None)))
    y = _room(batch, channels, height, width) if norm else None
    _run(
        "norm_rows", batch * height, width, channels, height, x.data_ptr(), *_steps(x), p.data_ptr(),
        kept.data_ptr(), 0 if y is None else y.data_ptr(), weight.data_ptr(), bias.data_ptr(),
        factor.data_ptr(), round(norm[2] * 1e9) if norm else 0,
    )  # fmt: skip
    return kept, y


def gated_norm_(z: Tensor, y: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """norm(y) * silu(z), in place of z; y (B, C, H, W) in float32, z contiguous (B, H, W, C)."""
    y = _rows(y)
    batch, channels, height, width = y.shape
    scale, shift = _table(weight), _table(bias)
    _run(
        "gated_norm_rows", batch * height, width, channels, height, y.data_ptr(), *_steps(y), z.data_ptr(),
        scale.data_ptr(), shift.data_ptr(), round(eps * 1e9),
    )  # fmt: skip
    return z


def taps(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weights (9, C) and bias (C) of a 3x3 depthwise convolution, in float32 for the kernels."""
    weights = conv.weight.detach().float().flatten(1).t().contiguous()
    bias = weights.new_zeros(weights.shape[1]) if conv.bias is None else _table(conv.bias)
    return weights, bias


def _depthwise(
    kind: int, x: Tensor, table: tuple[Tensor, Tensor], border: tuple[int, int], dilation: int, out: Tensor,
    coefficients: Tensor | None = None,
) -> Tensor:  # fmt: skip
    x = _rows(x)
    batch, wide, rows, width = x.shape
    channels, height = out.shape[1], out.shape[2]
    weights, bias = table
    _run(
        "depthwise_rows", batch * height, kind, width, wide, channels, height, dilation, x.data_ptr(),
        *_steps(x), rows, dilation - border[0], weights.data_ptr(), bias.data_ptr(), out.data_ptr(),
        *_steps(out), 0 if coefficients is None else coefficients.data_ptr(),
    )  # fmt: skip
    return out


def gelu_gate(x: Tensor, table: tuple[Tensor, Tensor], border: tuple[int, int]) -> Tensor:
    """Depthwise 3x3 convolution, then GELU of the first half times the second.

    Args:
        x: (B, 2C, h, W), a band that carries one neighbouring row where it has one.
        table: of `taps`.
        border: rows that are missing above and below, since they are outside of the picture.
    """
    out = _room(x.shape[0], x.shape[1] // 2, x.shape[2] - 2 + sum(border), x.shape[3])
    return _depthwise(0, x, table, border, 1, out)


def silu(
    x: Tensor, table: tuple[Tensor, Tensor], border: tuple[int, int], into: Tensor | None = None
) -> Tensor:
    """Depthwise 3x3 convolution and SiLU, in float32, to `into` if given; arguments as of `gelu_gate`."""
    if into is None:
        into = _room(x.shape[0], x.shape[1], x.shape[2] - 2 + sum(border), x.shape[3], torch.float32)
    return _depthwise(1, x, table, border, 1, into)


def add_leaky_(out: Tensor, x: Tensor, table: tuple[Tensor, Tensor], dilation: int, scale: Tensor) -> Tensor:
    """out += scale * leaky(depthwise(x)) of whole pictures, scale (B,)."""
    spread = scale.float()[:, None].expand(-1, x.shape[1]).contiguous()
    return _depthwise(2, x, table, (dilation, dilation), dilation, out, spread)


def crossed_gate(
    x: Tensor,
    y: Tensor,
    table: tuple[Tensor, Tensor] | None = None,
    border: tuple[int, int] = (0, 0),
    into: Sequence[Tensor | None] = (None, None),
) -> tuple[Tensor, Tensor, Tensor]:
    """Depthwise 3x3 convolution of two streams (if there is a table), and the first half of each times the
    second of the other; to `into` (contiguous, channels last), if given.

    Returns:
        (u, v, (B, h, 2C) sums of both over the rows, meaningless without convolution).
    """
    x, y = _rows(x), _rows(y)
    if x.stride() != y.stride():
        x, y = (part.contiguous(memory_format=torch.channels_last) for part in (x, y))
    batch, wide, rows, width = x.shape
    height = rows if table is None else rows - 2 + sum(border)
    u, v = (_room(batch, wide // 2, height, width) if out is None else out for out in into)
    sums = torch.empty(batch, height, wide)
    weights, bias = (0, 0) if table is None else (table[0].data_ptr(), table[1].data_ptr())
    _run(
        "crossed_rows", batch * height, width, wide, height, x.data_ptr(), y.data_ptr(), *_steps(x), rows,
        0 if table is None else 1 - border[0], weights, bias, u.data_ptr(), v.data_ptr(), sums.data_ptr(),
    )  # fmt: skip
    return u, v, sums


def pooled(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and maximum (B, C) over the pixels, in float32."""
    x = _rows(x)
    batch, channels, height, width = x.shape
    sums, tops = torch.empty(batch, height, channels), torch.empty(batch, height, channels)
    _run(
        "pooled_rows", batch * height, width, channels, height, x.data_ptr(), *_steps(x), sums.data_ptr(),
        tops.data_ptr(),
    )  # fmt: skip
    return sums.sum(1) / (height * width), tops.amax(1)


def mix_slots_(y: Tensor, scores: Tensor, values: Tensor, bias: Tensor) -> Tensor:
    """leaky(y + bias + mixed values of the two best slots), in place.

    Args:
        y: (L, C) contiguous.
        scores: (L, slots) contiguous bfloat16; the mix is by softmax of the two largest.
        values: (slots, C).
        bias: (C).
    """
    table, shift = values.float().contiguous(), _table(bias)
    _run(
        "mixed_slots", -(-y.shape[0] // 128), y.shape[0], scores.shape[1], y.shape[1], scores.data_ptr(),
        table.data_ptr(), shift.data_ptr(), y.data_ptr(),
    )  # fmt: skip
    return y


def mix_matrices_(
    into: tuple[Tensor, Tensor], top: int, raw: Tensor, rank: int, depth: Tensor, share: Tensor
) -> None:
    """Write B and C of a scan both ways, lerp(own, depth's, share), for a band of rows of one picture.

    Args:
        into: B and C, float32 (2, H, W, 16) contiguous.
        top: first row of the band.
        raw: (1, h, W, 2 * (rank + 32)) contiguous, for each way `rank` numbers that are not used, B and C.
        rank: see `raw`.
        depth: (1, 64, h, W) depth's B and C of one way, then of the other.
        share: (1, 16, h, W).
    """
    depth, share = _rows(depth), _rows(share)
    height, width = raw.shape[1:3]
    _run(
        "mixed_matrices", height, width, raw.shape[3], rank, height, raw.data_ptr(), depth.data_ptr(),
        _steps(depth)[1], share.data_ptr(), _steps(share)[1], into[0].data_ptr(), into[1].data_ptr(),
        4 * into[0][0].numel(), top,
    )  # fmt: skip

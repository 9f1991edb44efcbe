"""What is mixed in DMDNet alone, in one pass: memory slots, and depth's share in a scan's matrices."""

from __future__ import annotations

from torch import Tensor

from dereflect.methods.dmdnet.fast.tables import PIXELS_A_TASK, MixedMatrices, MixedSlots
from dereflect.nn import fused, threads


def usable(u: Tensor, matrices: Tensor) -> bool:
    """Whether `mix_matrices_` can be used: one picture, sixteen states, bfloat16 on the CPU."""
    return len(u) == 1 and matrices.shape[1] == 4 * fused.LANES and fused.usable(matrices)


def mix_slots_(y: Tensor, scores: Tensor, values: Tensor, bias: Tensor) -> Tensor:
    """leaky(y + bias + mixed values of the two best slots), in place.

    Args:
        y: (L, C) contiguous.
        scores: (L, slots) contiguous bfloat16; the mix is by softmax of the two largest.
        values: (slots, C).
        bias: (C).
    """
    from dereflect.methods.dmdnet.fast import kernels

    pixels, channels = y.shape
    table = MixedSlots(
        pixels=pixels, slots=scores.shape[1], channels=channels, scores=scores,
        values=fused.flat_floats(values), bias=fused.flat_floats(bias), y=y,
    )  # fmt: skip
    threads.run(kernels.mixed_slots, -(-pixels // PIXELS_A_TASK), table)
    return y


def mix_matrices_(B: Tensor, C: Tensor, raw: Tensor, rank: int, depth: Tensor, share: Tensor) -> None:
    """Write B and C of a scan both ways, lerp(own, depth's, share), for a band of rows of one picture.

    Args:
        B: float32 (1, 2, 16, h, W), the states of a pixel and the pixels of a row in one piece.
        C: the same.
        raw: (1, h, W, 2 * (rank + 32)) contiguous, for each way `rank` numbers that are not used, B and C.
        rank: see `raw`.
        depth: (1, 64, h, W) depth's B and C of one way, then of the other.
        share: (1, 16, h, W).
    """
    from dereflect.methods.dmdnet.fast import kernels

    depth, share = fused.rows_in_one_piece(depth), fused.rows_in_one_piece(share)
    height, width = raw.shape[1:3]
    table = MixedMatrices(
        width=width, wide=raw.shape[3], rank=rank, raw=raw, depth=depth, depth_row=fused.steps_of(depth)[1],
        share=share, share_row=fused.steps_of(share)[1], B=B, C=C, direction=B.stride(1) * B.element_size(),
    )  # fmt: skip
    threads.run(kernels.mixed_matrices, height, table)

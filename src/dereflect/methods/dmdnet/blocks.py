"""Depth-memory block (DMBlock): state space, feed-forward network and, last of a sequence, memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dereflect.methods.dmdnet.config import DMDNetConfig
from dereflect.methods.dmdnet.dsmamba import DepthTerms, DSMamba
from dereflect.methods.dmdnet.memory import MECM, MemoryTrace
from dereflect.methods.dmdnet.orders import OrderBook
from dereflect.nn import fused
from dereflect.nn.bands import Border, Into, depthwise, in_bands
from dereflect.nn.convolution import pointwise
from dereflect.nn.mugi import ChannelNorm

Bank = tuple[str, Tensor]
"""Name and content (experts, slots, C) of a memory bank."""


class PixelNorm(nn.Module):
    """Channel norm under its published name."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = ChannelNorm(channels, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return self.body(x)


class EFFN(nn.Module):
    """Gated feed-forward network: widen, mix 3x3 within channels, gate by GELU of one half, narrow."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = int(channels * 2.66)
        self.project_in = nn.Conv2d(channels, 2 * hidden, 1, bias=False)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.project_out = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor, norm: nn.Module | None = None) -> Tensor:
        """(B, C, H, W) to the same shape; with a norm, x + self(norm(x)).

        Done in bands of rows where no gradient is wanted: the widened features are five times the input.
        """
        table = fused.taps(self.dwconv) if fused.usable(x) else None
        chain = partial(self._band, norm=norm, table=table)
        rooms = [(x.shape[1], x.dtype)]
        (out,) = in_bands(chain, (x,), 4 * self.dwconv.out_channels, halo=1, rooms=rooms)
        return out

    def _band(
        self,
        x: Tensor,
        border: Border,
        into: Into,
        norm: nn.Module | None,
        table: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        widened = pointwise(self.project_in, x if norm is None else norm(x))
        if table is None:
            gate, value = depthwise(self.dwconv, widened, border).chunk(2, dim=1)
            gated = F.gelu(gate).mul_(value) if not torch.is_grad_enabled() else F.gelu(gate) * value
        else:
            gated = fused.gelu_gate(widened, table, border)
        out = pointwise(self.project_out, gated)
        if norm is None:
            return out
        above, below = border
        own = x[:, :, 1 - above : x.shape[2] - (1 - below)]
        return out + own if into[0] is None else torch.add(out, own, out=into[0])


class DMBlock(nn.Module):
    """One block; both streams go through the same weights (A and D of the scan excepted).

    Args:
        channels: C.
        config: switches.
        last: whether it is the last of its sequence, and so has the memory module.
    """

    def __init__(self, channels: int, config: DMDNetConfig, last: bool) -> None:
        super().__init__()
        self.norm1 = PixelNorm(channels)
        self.DSMamba = DSMamba(channels, config)
        self.norm2 = PixelNorm(channels)
        self.EFFN = EFFN(channels)
        self.use_memory = config.memory
        if last:
            self.MECM = MECM(channels, config)

    def body(self, x: Tensor, terms: DepthTerms, stream: str, call: int, orders: OrderBook | None) -> Tensor:
        """State space and feed-forward part of one stream, (B, C, H, W) to the same shape."""
        return self.EFFN(self.DSMamba(x, terms, stream, call, orders, self.norm1), self.norm2)

    def remember(self, x: Tensor, bank: Bank, train: bool) -> tuple[Tensor, MemoryTrace | None]:
        """Add what the memory has to say of one stream."""
        if not self.use_memory:
            return x, None
        name, memory = bank
        compensation, trace = self.MECM(x, memory, name, train)
        return x + compensation, trace


class BlockSequence(nn.Module):
    """Blocks of one level; the last one has a memory module."""

    def __init__(self, channels: int, count: int, config: DMDNetConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([DMBlock(channels, config, last=i == count - 1) for i in range(count)])

    def __iter__(self) -> Iterator[DMBlock]:
        return (cast(DMBlock, block) for block in self.blocks)

    @property
    def last(self) -> DMBlock:
        """The block that has a memory module."""
        return cast(DMBlock, self.blocks[-1])

    def forward(
        self,
        streams: Sequence[Tensor],
        proximity: Tensor,
        banks: tuple[Bank, Bank],
        call: int = 0,
        orders: OrderBook | None = None,
        train: bool = False,
    ) -> tuple[tuple[Tensor, Tensor], list[MemoryTrace]]:
        """Both streams through all blocks.

        Args:
            streams: T and R, each (B, C, H, W). A list is emptied, so that its tensors can be freed.
            proximity: (B, C, H, W).
            banks: of T and of R.
            call: number of the first DSMamba call.

        Returns:
            (streams, traces of the memory module: none, or one for each stream).
        """
        transmission, reflection = streams
        if isinstance(streams, list):
            streams.clear()
        for i, block in enumerate(self):
            terms = block.DSMamba.depth_terms(proximity)
            transmission = block.body(transmission, terms, "T", call + i, orders)
            reflection = block.body(reflection, terms, "R", call + i, orders)
        transmission, trace_T = self.last.remember(transmission, banks[0], train)
        reflection, trace_R = self.last.remember(reflection, banks[1], train)
        return (transmission, reflection), [trace for trace in (trace_T, trace_R) if trace is not None]

    def pair(
        self,
        semantics: Tensor,
        streams: tuple[Tensor, Tensor],
        proximity: Tensor,
        banks: tuple[Bank, Bank, Bank, Bank],
        call: int = 0,
        orders: OrderBook | None = None,
        train: bool = False,
    ) -> tuple[list[tuple[Tensor, Tensor]], list[MemoryTrace]]:
        """The depth semantic branch: twice the same one-block sequence, on (semantics, T) and on (semantics,
        R).

        The first slot differs between the calls in its memory alone, so the rest of it is computed once.

        Returns:
            ([both slots of the first call, both slots of the second], four traces or none).
        """
        block = self.last
        terms = block.DSMamba.depth_terms(proximity)
        common = block.body(semantics, terms, "T", call, orders)
        if orders is not None:
            orders.used[call + 1, "T"] = orders.used[call, "T"]
        answers, traces = [], []
        for i, stream in enumerate(streams):
            own = block.body(stream, terms, "R", call + i, orders)
            first, trace_first = block.remember(common, banks[2 * i], train)
            second, trace_second = block.remember(own, banks[2 * i + 1], train)
            answers.append((first, second))
            traces += [trace for trace in (trace_first, trace_second) if trace is not None]
        return answers, traces

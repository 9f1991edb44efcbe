"""Depth-memory block (DMBlock): state space, feed-forward network and, last of a sequence, memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from dereflect.methods.dmdnet.config import DMDNetConfig
from dereflect.methods.dmdnet.dsmamba import DSMamba
from dereflect.methods.dmdnet.forward_pass import ForwardPass
from dereflect.methods.dmdnet.memory import MECM
from dereflect.nn.mugi import ChannelNorm
from dereflect.nn.streams import TwoStreams

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

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        gate, value = self.dwconv(self.project_in(x)).chunk(2, dim=1)  # (B, 2.66 C, H, W) each
        return self.project_out(F.gelu(gate) * value)


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

    def forward(self, T: Tensor, R: Tensor, proximity: Tensor, run: ForwardPass) -> TwoStreams:
        """State space and feed-forward part of both streams, (B, C, H, W) to the same shape."""
        a_T, a_R = self.DSMamba(self.norm1(T), self.norm1(R), proximity, run)
        T, R = T + a_T, R + a_R
        return T + self.EFFN(self.norm2(T)), R + self.EFFN(self.norm2(R))

    def remember(self, x: Tensor, bank: Bank, run: ForwardPass) -> Tensor:
        """Add what the memory has to say of one stream."""
        if not self.use_memory:
            return x
        name, memory = bank
        compensation, trace = self.MECM(x, memory, name, run.train)
        if trace is not None:
            run.traces.append(trace)
        return x + compensation


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
        self, pair: TwoStreams, proximity: Tensor, banks: tuple[Bank, Bank], run: ForwardPass
    ) -> TwoStreams:
        """Both streams through all blocks, and at the end through the memory.

        Args:
            pair: T and R, each (B, C, H, W).
            proximity: (B, C, H, W).
            banks: of T and of R.
            run: of this forward pass.
        """
        T, R = pair
        for block in self:
            T, R = block(T, R, proximity, run)
        return self.last.remember(T, banks[0], run), self.last.remember(R, banks[1], run)

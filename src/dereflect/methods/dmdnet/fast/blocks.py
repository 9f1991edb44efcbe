"""Fast forms of the depth-memory block, of its sequences and of the semantic branch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dereflect.methods.dmdnet.blocks import EFFN, Bank, BlockSequence, DMBlock
from dereflect.methods.dmdnet.fast.chains import chains_for
from dereflect.methods.dmdnet.fast.dsmamba import DepthTerms, depth_terms, with_scanned
from dereflect.methods.dmdnet.fast.memory import compensation
from dereflect.methods.dmdnet.fast.mugi import interact
from dereflect.methods.dmdnet.forward_pass import ForwardPass
from dereflect.nn.bands import Border, Out, in_bands
from dereflect.nn.convolution import pointwise
from dereflect.nn.mugi import ChannelNorm, MuGIBlock
from dereflect.nn.streams import TwoStreams


@dataclass
class Streams:
    """T and R on their way. A step replaces them, so that nothing holds on to what it has replaced."""

    T: Tensor
    R: Tensor

    @property
    def pair(self) -> TwoStreams:
        """Both as they are now."""
        return self.T, self.R

    def interact(self, block: MuGIBlock) -> None:
        """Through a MuGI block."""
        self.T, self.R = interact(block, self.T, self.R)

    def add(self, T: Tensor, R: Tensor) -> None:
        """Add to each."""
        self.T = self.T + T
        self.R = self.R + R


def decode(
    sequence: BlockSequence, streams: Streams, proximity: Tensor, banks: tuple[Bank, Bank], run: ForwardPass
) -> None:
    """`BlockSequence.forward`."""
    for block in sequence:
        call, terms = run.next_call(), depth_terms(block.DSMamba, proximity)
        streams.T = body(block, streams.T, terms, call, "T", run)
        streams.R = body(block, streams.R, terms, call, "R", run)
    streams.T = remembered(sequence.last, streams.T, banks[0])
    streams.R = remembered(sequence.last, streams.R, banks[1])


def branch(
    sequence: BlockSequence,
    semantic: Tensor,
    encoded: TwoStreams,
    proximity: Tensor,
    banks: tuple[Bank, Bank, Bank, Bank],
    run: ForwardPass,
) -> tuple[TwoStreams, TwoStreams]:
    """The one-block sequence of a semantic branch twice: on (semantic, T) and on (semantic, R).

    The first slot differs between the calls in its memory alone, so the rest of it is computed once.

    Returns:
        Both slots of the first call, and both of the second.
    """
    block, calls = sequence.last, (run.next_call(), run.next_call())
    terms = depth_terms(block.DSMamba, proximity)
    common = body(block, semantic, terms, calls[0], "T", run)
    if run.orders is not None:
        run.orders.used[calls[1], "T"] = run.orders.used[calls[0], "T"]

    def slots(i: int) -> TwoStreams:
        own = body(block, encoded[i], terms, calls[i], "R", run)
        return remembered(block, common, banks[2 * i]), remembered(block, own, banks[2 * i + 1])

    return slots(0), slots(1)


def body(block: DMBlock, x: Tensor, terms: DepthTerms, call: int, stream: str, run: ForwardPass) -> Tensor:
    """`DMBlock.forward` of one stream."""
    x = with_scanned(block.DSMamba, block.norm1.body, x, terms, call, stream, run)
    return with_effn(block.EFFN, block.norm2.body, x)


def remembered(block: DMBlock, x: Tensor, bank: Bank) -> Tensor:
    """`DMBlock.remember`."""
    return x + compensation(block.MECM, x, bank[1]) if block.use_memory else x


def with_effn(module: EFFN, norm: ChannelNorm, x: Tensor) -> Tensor:
    """x + module(norm(x)), in bands of rows: the widened features are five times the input."""
    chains = chains_for(x)

    def chain(x: Tensor, border: Border, out: Out) -> Tensor:
        widened = pointwise(module.project_in, chains.norm(norm, x))
        narrowed = pointwise(module.project_out, chains.gelu_gate(module.dwconv, widened, border))
        above, below = border
        return torch.add(narrowed, x[:, :, 1 - above : x.shape[2] - (1 - below)], out=out[0])

    wide = 4 * module.dwconv.out_channels
    return in_bands(chain, (x,), wide, halo=1, out_specs=[(x.shape[1], x.dtype)])[0]

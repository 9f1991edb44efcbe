"""DMDNet: the whole network (arXiv 2601.00322, figure 2), as its formulas read.

Training runs it; separating runs the same weights by `dereflect.methods.dmdnet.fast`, which saves what is
repeated here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dereflect.errors import InputError
from dereflect.methods.dmdnet.blocks import Bank, BlockSequence
from dereflect.methods.dmdnet.config import DMDNetConfig, bank_channels
from dereflect.methods.dmdnet.encoder import EncodingBranch
from dereflect.methods.dmdnet.forward_pass import ForwardPass, Watch
from dereflect.methods.dmdnet.memory import MemoryTrace, evolve
from dereflect.methods.dmdnet.orders import OrderBook
from dereflect.nn.enlarging import double
from dereflect.nn.mugi import MuGIBlock, Twice
from dereflect.nn.streams import TwoStreams

SIZE_MULTIPLE = 32
DEPTH_CHANNELS = {3: 96, 4: 256, 5: 512}


@dataclass(frozen=True)
class DepthFeatures:
    """What the network takes from the depth network."""

    semantics: tuple[Tensor, Tensor, Tensor]
    """Features of 96, 256 and 512 channels at a quarter, an eighth and a sixteenth of the size."""
    proximity: Tensor
    """(B, 1, H, W): inverse depth, not below zero, of no fixed range."""


@dataclass(frozen=True)
class DMDNetOutput:
    """Both layers, and in training what the memory modules did."""

    transmission: Tensor
    reflection: Tensor
    traces: list[MemoryTrace] = field(default_factory=list)


def conv_relu(in_channels: int, out_channels: int, size: int = 1) -> nn.Sequential:
    """Convolution and leaky ReLU of slope 0.2."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, size, padding=size // 2), nn.LeakyReLU(0.2, inplace=True)
    )


class DMDNet(nn.Module):
    """Encoding branch, depth semantic branch and decoder, with the memory banks as buffers.

    Module names follow the published checkpoint; the banks carry the names of the published banks file.
    """

    def __init__(self, config: DMDNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DMDNetConfig()
        config.check()
        dims = config.dims
        self.Encoding_Branch = EncodingBranch(dims)
        for level in (5, 4, 3):
            self.add_module(f"DMBlock_DSBranch_level{level}", BlockSequence(dims[level - 1], 1, config))
            self.add_module(f"conv_dim{level}", conv_relu(DEPTH_CHANNELS[level], dims[level - 1]))
        for level in (5, 4, 3, 2, 1):
            width = dims[level - 1]
            self.add_module(
                f"DMBlock_level{level}", BlockSequence(width, config.decoder_blocks[level - 1], config)
            )
        for level in (4, 3, 2, 1):
            width, coarser = dims[level - 1], dims[level]
            blocks = [MuGIBlock(width) for _ in range(config.mugi_blocks[level - 1])]
            self.add_module(f"MuGIBlock_level{level}", nn.ModuleList(blocks))
            self.add_module(f"conv_{level}", conv_relu(coarser, width))
            self.add_module(f"conv_level{level}_d", conv_relu(width, coarser))
        self.MuGIBlock_last = nn.ModuleList([MuGIBlock(dims[0]) for _ in range(config.last_mugi_blocks)])
        self.convert_d = conv_relu(1, dims[0], 3)
        self.out = Twice(nn.Conv2d(dims[0], 3, 3, padding=1), nn.LeakyReLU(0.2))
        for name, channels in bank_channels(config).items():
            self.register_buffer(name, F.normalize(torch.rand(config.experts, channels, channels), dim=1))

    def bank(self, name: str) -> Bank:
        """A memory bank by its name without ``memory_``: its full name and its content."""
        name = f"memory_{name}"
        return name, self.get_buffer(name)

    def sequence(self, name: str) -> BlockSequence:
        """A `BlockSequence` child by its name."""
        child = self.get_submodule(name)
        assert isinstance(child, BlockSequence)
        return child

    def forward(
        self,
        image: Tensor,
        depth: DepthFeatures,
        orders: OrderBook | None = None,
        train: bool = False,
        watch: Watch | None = None,
    ) -> DMDNetOutput:
        """Separate.

        Args:
            image: (B, 3, H, W) in [0, 1], H and W of at least 17.
            depth: of the image padded to multiples of 32.
            orders: forces and records scan orders.
            train: whether traces (losses, queries of the memory) are wanted. Memory changes in `remember`
                alone.
            watch: sees intermediate results.

        Returns:
            T and R, each (B, 3, H, W), not clamped.
        """
        run = ForwardPass(orders, train, watch)
        encoded = self.Encoding_Branch(pad_to_multiple(image))
        proximity = self.proximity_pyramid(depth.proximity)
        for level, (own, p) in enumerate(zip(encoded, proximity, strict=True), start=1):
            run.look(f"encoder{level}", own)
            run.look(f"proximity{level}", (p, p))

        Q = proximity[4]
        T, R = self.decode(5, self.semantics(5, depth, encoded[4], Q, run), Q, run)
        for level in (4, 3, 2, 1):
            own, p, up = encoded[level - 1], proximity[level - 1], self.get_submodule(f"conv_{level}")
            T, R, Q = up(double(T)), up(double(R)), up(double(Q))
            for block in self.mugi_blocks(level):
                T, R = block(T, R)
            run.look(f"MuGIBlock_level{level}#0", (T, R))
            added = self.semantics(level, depth, own, p, run) if level >= 3 else own
            T, R, Q = T + added[0], R + added[1], Q + p
            T, R = self.decode(level, (T, R), Q, run)
        for last in self.MuGIBlock_last:
            T, R = last(T, R)
        T, R = self.out(T, R)
        height, width = image.shape[-2:]
        return DMDNetOutput(T[..., :height, :width], R[..., :height, :width], run.traces)

    def proximity_pyramid(self, proximity: Tensor) -> list[Tensor]:
        """(B, 1, H, W) inverse depth to five levels of features."""
        levels = [self.convert_d(proximity)]
        for level in range(1, 5):
            levels.append(self.get_submodule(f"conv_level{level}_d")(F.avg_pool2d(levels[-1], 2)))
        return levels

    def semantics(
        self, level: int, depth: DepthFeatures, encoded: TwoStreams, proximity: Tensor, run: ForwardPass
    ) -> TwoStreams:
        """Depth semantics of a level, beside its encoder's T and beside its R: what to add to T and to R."""
        semantic = self.get_submodule(f"conv_dim{level}")(depth.semantics[level - 3])
        name, (t1, t2, r1, r2) = self.semantic_branch(level)
        sequence = self.sequence(name)
        T = run.look(f"{name}#0", sequence((semantic, encoded[0]), proximity, (t1, t2), run))
        R = run.look(f"{name}#1", sequence((semantic, encoded[1]), proximity, (r1, r2), run))
        return T[0] + T[1], R[0] + R[1]

    def decode(self, level: int, pair: TwoStreams, Q: Tensor, run: ForwardPass) -> TwoStreams:
        """The block sequence of a decoder level, with the proximity features Q."""
        name, banks = self.decoder(level)
        return run.look(f"{name}#0", self.sequence(name)(pair, Q, banks, run))

    def semantic_branch(self, level: int) -> tuple[str, tuple[Bank, Bank, Bank, Bank]]:
        """Name of the semantic branch of a level, and its banks: two for T, two for R."""
        t1, t2, r1, r2 = (self.bank(f"DS{level}_{slot}") for slot in ("T1", "T2", "R1", "R2"))
        return f"DMBlock_DSBranch_level{level}", (t1, t2, r1, r2)

    def decoder(self, level: int) -> tuple[str, tuple[Bank, Bank]]:
        """Name of the block sequence of a decoder level, and its banks for T and R."""
        return f"DMBlock_level{level}", (self.bank(f"level{level}_T"), self.bank(f"level{level}_R"))

    def mugi_blocks(self, level: int) -> list[MuGIBlock]:
        """The MuGI blocks of a decoder level."""
        return [cast(MuGIBlock, block) for block in self.get_submodule(f"MuGIBlock_level{level}").children()]

    @torch.no_grad()
    def remember(self, traces: list[MemoryTrace]) -> None:
        """Let the banks evolve by what a training step asked them, in place."""
        for trace in traces:
            memory = self.get_buffer(trace.bank)
            memory.copy_(evolve(memory, trace.query, trace.ran))


def pad_to_multiple(image: Tensor, multiple: int = SIZE_MULTIPLE) -> Tensor:
    """Pad right and bottom by reflection up to a multiple.

    Raises:
        InputError: a side is too short to be reflected that far.
    """
    height, width = image.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if bottom >= height or right >= width:
        raise InputError(
            f"a picture of {width} x {height} pixels is too small for DMDNet",
            f"sides of at least {multiple // 2 + 1} are needed; enlarge it first",
        )
    return F.pad(image, (0, right, 0, bottom), mode="reflect") if bottom or right else image

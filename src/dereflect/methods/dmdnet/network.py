"""DMDNet: the whole network (arXiv 2601.00322, figure 2), executed without the original's repeated work.

`dereflect.methods.dmdnet.plain` runs the same weights as the paper's formulas read; read it first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dereflect.errors import InputError
from dereflect.methods.dmdnet.blocks import Bank, BlockSequence
from dereflect.methods.dmdnet.config import DMDNetConfig, bank_channels
from dereflect.methods.dmdnet.encoder import EncodingBranch
from dereflect.methods.dmdnet.interaction import interact
from dereflect.methods.dmdnet.memory import MemoryTrace, evolve
from dereflect.methods.dmdnet.orders import OrderBook
from dereflect.nn.mugi import MuGIBlock, Twice

SIZE_MULTIPLE = 32
DEPTH_CHANNELS = {3: 96, 4: 256, 5: 512}

Watch = Callable[[str, Tensor, Tensor], None]
"""Called with a name and a pair of intermediate results, for tests and figures."""


@dataclass(frozen=True)
class DepthFeatures:
    """What the network takes from the depth network."""

    semantics: tuple[Tensor, Tensor, Tensor]
    """Features of 96, 256 and 512 channels at a quarter, an eighth and a sixteenth of the size."""
    proximity: Tensor
    """(B, 1, H, W): inverse depth, not below zero, of no fixed range."""


@dataclass(frozen=True)
class Separated:
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
    ) -> Separated:
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
        height, width = image.shape[-2:]
        levels = self.Encoding_Branch(pad_to_multiple(image))
        proximity = self.proximity_pyramid(depth.proximity)
        if watch:
            for number, (level, p) in enumerate(zip(levels, proximity, strict=True), start=1):
                watch(f"encoder{number}", *level)
                watch(f"proximity{number}", p, p)
        traces: list[MemoryTrace] = []

        pair = self._semantics(depth, levels, proximity, 5, 0, orders, train, traces, watch)
        fused, call = proximity[4], 2
        levels.pop()
        pair = self._decode(5, list(pair), fused, call, orders, train, traces, watch)
        call += self.config.decoder_blocks[4]
        for level in (4, 3, 2, 1):
            up = self.get_submodule(f"conv_{level}")
            pair = grow(up, pair[0]), grow(up, pair[1])
            fused = grow(up, fused) + proximity[level - 1]
            for block in self.get_submodule(f"MuGIBlock_level{level}").children():
                pair = interact(cast(MuGIBlock, block), *pair)
            if watch:
                watch(f"MuGIBlock_level{level}#0", *pair)
            if level >= 3:
                added = self._semantics(depth, levels, proximity, level, call, orders, train, traces, watch)
                call += 2
                levels.pop()
            else:
                added = levels.pop()
            streams = [pair[0] + added[0], pair[1] + added[1]]
            del pair, added  # with `streams` emptied below, nothing is kept longer than it is needed
            pair = self._decode(level, streams, fused, call, orders, train, traces, watch)
            call += self.config.decoder_blocks[level - 1]
            proximity.pop()
        del fused
        for block in self.MuGIBlock_last:
            pair = interact(cast(MuGIBlock, block), *pair)
        transmission, reflection = self.out(*pair)
        return Separated(transmission[..., :height, :width], reflection[..., :height, :width], traces)

    def proximity_pyramid(self, proximity: Tensor) -> list[Tensor]:
        """(B, 1, H, W) inverse depth to five levels of features."""
        if proximity.device.type == "cpu":  # of a single channel the layout is unknown, and guessed wrongly
            conv, act = self.convert_d.children()
            weight, bias = cast(nn.Conv2d, conv).weight, cast(nn.Conv2d, conv).bias
            pixels = F.unfold(proximity, 3, padding=1).transpose(1, 2)
            first = act(F.linear(pixels, weight.flatten(1), bias))
            first = first.transpose(1, 2).unflatten(2, proximity.shape[2:])
        else:
            first = self.convert_d(proximity)
        levels = [first]
        for level in range(1, 5):
            levels.append(self.get_submodule(f"conv_level{level}_d")(F.avg_pool2d(levels[-1], 2)))
        return levels

    def _semantics(
        self,
        depth: DepthFeatures,
        levels: list[tuple[Tensor, Tensor]],
        proximity: list[Tensor],
        level: int,
        call: int,
        orders: OrderBook | None,
        train: bool,
        traces: list[MemoryTrace],
        watch: Watch | None,
    ) -> tuple[Tensor, Tensor]:
        """Depth semantics of a level: what to add to T and to R."""
        semantic = self.get_submodule(f"conv_dim{level}")(depth.semantics[level - 3])
        name = f"DMBlock_DSBranch_level{level}"
        t1, t2, r1, r2 = (self.bank(f"DS{level}_{slot}") for slot in ("T1", "T2", "R1", "R2"))
        answers, new = self.sequence(name).pair(
            semantic, levels[level - 1], proximity[level - 1], (t1, t2, r1, r2), call, orders, train
        )
        traces += new
        if watch:
            for i, answer in enumerate(answers):
                watch(f"{name}#{i}", *answer)
        return answers[0][0] + answers[0][1], answers[1][0] + answers[1][1]

    def _decode(
        self,
        level: int,
        streams: list[Tensor],
        fused: Tensor,
        call: int,
        orders: OrderBook | None,
        train: bool,
        traces: list[MemoryTrace],
        watch: Watch | None,
    ) -> tuple[Tensor, Tensor]:
        """The block sequence of a decoder level."""
        banks = self.bank(f"level{level}_T"), self.bank(f"level{level}_R")
        pair, new = self.sequence(f"DMBlock_level{level}")(streams, fused, banks, call, orders, train)
        traces += new
        if watch:
            watch(f"DMBlock_level{level}#0", *pair)
        return pair

    @torch.no_grad()
    def remember(self, traces: list[MemoryTrace]) -> None:
        """Let the banks evolve by what a training step asked them, in place."""
        for trace in traces:
            memory = self.get_buffer(trace.bank)
            memory.copy_(evolve(memory, trace.query, trace.ran))


def grow(layer: nn.Module, x: Tensor) -> Tensor:
    """Double the size, 1x1 convolution, leaky ReLU: convolved first, which is equal but cheaper."""
    conv, act = layer.children()
    return act(F.interpolate(conv(x), scale_factor=2, mode="bilinear", align_corners=False))


def pad_to_multiple(image: Tensor, multiple: int = SIZE_MULTIPLE) -> Tensor:
    """Pad right and bottom by reflection up to a multiple.

    Raises:
        InputError: a side is too short to be reflected that far.
    """
    height, width = image.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if bottom >= height or right >= width:
        raise InputError(
            f"a picture of {width} x {height} pixels is too small for DMDNet: sides of at least "
            f"{multiple // 2 + 1} are needed; enlarge it first"
        )
    return F.pad(image, (0, right, 0, bottom), mode="reflect") if bottom or right else image

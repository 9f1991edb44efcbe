"""Fast form of the whole network."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dereflect.methods.dmdnet.encoder import EncodingBranch
from dereflect.methods.dmdnet.fast.blocks import Streams, branch, decode
from dereflect.methods.dmdnet.fast.chains import grown, of_one_channel
from dereflect.methods.dmdnet.fast.mugi import interact
from dereflect.methods.dmdnet.forward_pass import ForwardPass, Watch
from dereflect.methods.dmdnet.network import DepthFeatures, DMDNet, DMDNetOutput, pad_to_multiple
from dereflect.methods.dmdnet.orders import OrderBook
from dereflect.nn.mugi import MuGIBlock
from dereflect.nn.streams import TwoStreams


class FastDMDNet:
    """What a `DMDNet` computes, for inference. Changes to the network's weights are seen at once."""

    def __init__(self, network: DMDNet) -> None:
        self.network = network

    @torch.no_grad()
    def __call__(
        self,
        image: Tensor,
        depth: DepthFeatures,
        orders: OrderBook | None = None,
        watch: Watch | None = None,
    ) -> DMDNetOutput:
        """Arguments and result as of `DMDNet.forward`, without traces."""
        run = ForwardPass(orders, watch=watch)
        streams = self._decoded(image, depth, run)
        for block in self.network.MuGIBlock_last.children():
            assert isinstance(block, MuGIBlock)
            streams.interact(block)
        T, R = self.network.out(*streams.pair)
        height, width = image.shape[-2:]
        return DMDNetOutput(T[..., :height, :width], R[..., :height, :width])

    def _decoded(self, image: Tensor, depth: DepthFeatures, run: ForwardPass) -> Streams:
        """Encoder and decoder. What a level has used up is dropped: both lists shrink on the way."""
        network = self.network
        encoded = encode(network.Encoding_Branch, pad_to_multiple(image))
        proximity = proximity_pyramid(network, depth.proximity)
        for level in range(1, 6):
            run.look(f"encoder{level}", encoded[level - 1])
            run.look(f"proximity{level}", (proximity[level - 1], proximity[level - 1]))

        Q = proximity.pop()
        streams = Streams(*self._semantics(5, depth, encoded.pop(), Q, run))
        self._decode(5, streams, Q, run)
        for level in (4, 3, 2, 1):
            p, up = proximity.pop(), network.get_submodule(f"conv_{level}")
            streams.T, streams.R = grown(up, streams.T), grown(up, streams.R)
            Q = grown(up, Q) + p
            for block in network.mugi_blocks(level):
                streams.interact(block)
            run.look(f"MuGIBlock_level{level}#0", streams.pair)
            streams.add(*self._semantics(level, depth, encoded.pop(), p, run))
            self._decode(level, streams, Q, run)
        return streams

    def _semantics(
        self, level: int, depth: DepthFeatures, encoded: TwoStreams, proximity: Tensor, run: ForwardPass
    ) -> TwoStreams:
        """What a level adds to T and R: depth semantics, or at the two finest the encoder's features."""
        if level < 3:
            return encoded
        semantic = self.network.get_submodule(f"conv_dim{level}")(depth.semantics[level - 3])
        name, banks = self.network.semantic_branch(level)
        T, R = branch(self.network.sequence(name), semantic, encoded, proximity, banks, run)
        run.look(f"{name}#0", T)
        run.look(f"{name}#1", R)
        return T[0] + T[1], R[0] + R[1]

    def _decode(self, level: int, streams: Streams, Q: Tensor, run: ForwardPass) -> None:
        name, banks = self.network.decoder(level)
        decode(self.network.sequence(name), streams, Q, banks, run)
        run.look(f"{name}#0", streams.pair)


def encode(module: EncodingBranch, image: Tensor) -> list[TwoStreams]:
    """`EncodingBranch.forward`."""
    x = y = module.stem.seq(image)
    levels = [(x, y)]
    for level in range(1, 5):
        for layer in module.get_submodule(f"block{level}").children():
            x, y = interact(layer, x, y) if isinstance(layer, MuGIBlock) else layer(x, y)
        levels.append((x, y))
    return levels


def proximity_pyramid(network: DMDNet, proximity: Tensor) -> list[Tensor]:
    """`DMDNet.proximity_pyramid`."""
    levels = [of_one_channel(network.convert_d, proximity)]
    for level in range(1, 5):
        levels.append(network.get_submodule(f"conv_level{level}_d")(F.avg_pool2d(levels[-1], 2)))
    return levels

"""A whole YTMT system for inference: what `YtmtSystem` computes, without its hypercolumns."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from dereflect.methods.ytmt.blocks import StreamConv
from dereflect.methods.ytmt.fast.engine import Conv, Engine
from dereflect.methods.ytmt.fast.network import FastPlain, FastU
from dereflect.methods.ytmt.fast.old import FastOldU
from dereflect.methods.ytmt.fast.resized import Axis, ResizedConv, add_resized_convs, mixing_matrix
from dereflect.methods.ytmt.network import PlainNetwork, UNetwork
from dereflect.methods.ytmt.network_old import FirstBlock, OldUNetwork
from dereflect.methods.ytmt.two_stage import YtmtNetwork, YtmtSystem
from dereflect.nn.streams import TwoStreams
from dereflect.nn.vgg import LEVEL_CHANNELS, LEVEL_LAYERS, Vgg19


class FastVgg:
    """`Vgg19.levels` without recording gradients and with rectifiers in place."""

    def __init__(self, engine: Engine, vgg: Vgg19) -> None:
        self.engine = engine
        self.layers: list[Conv | None] = []  # None is a max-pool
        self.level_ends: list[bool] = []
        for index, layer in enumerate(vgg.features):
            if isinstance(layer, nn.Conv2d):
                self.layers.append(Conv.of(engine, layer))
                self.level_ends.append(index + 1 in LEVEL_LAYERS)
            elif isinstance(layer, nn.MaxPool2d):
                self.layers.append(None)
                self.level_ends.append(False)

    def __call__(self, x: Tensor) -> _Levels:
        """The five levels of a picture (B, 3, H, W)."""
        return _Levels(self, x)


class _Levels:
    """Computes one level at a time, and holds no more than the last."""

    def __init__(self, vgg: FastVgg, x: Tensor) -> None:
        self.vgg, self.x, self.done = vgg, x, 0

    def next(self) -> Tensor:
        """The next level, after its rectifier."""
        while True:
            layer = self.vgg.layers[self.done]
            self.x = self.vgg.engine.pool(self.x) if layer is None else layer(self.x).relu_()
            self.done += 1
            if self.vgg.level_ends[self.done - 1]:
                return self.x


class FirstConv:
    """The first convolution of one or more streams, over a hypercolumn never built.

    The streams read the same picture.
    """

    def __init__(self, engine: Engine, convs: list[nn.Conv2d], vgg: FastVgg | None) -> None:
        self.engine, self.vgg = engine, vgg
        weight = torch.cat([conv.weight.detach() for conv in convs])
        bias = torch.cat([conv.bias.detach() for conv in convs if conv.bias is not None])
        if vgg is None:
            self.direct = Conv(engine, weight, bias)
            return
        direct = 3 + LEVEL_CHANNELS[0]
        self.direct = Conv(engine, weight[:, :direct], bias)
        deeper = torch.split(weight[:, direct:], list(LEVEL_CHANNELS[1:]), dim=1)
        self.mixings = [engine.tensor(mixing_matrix(part)) for part in deeper]

    def __call__(self, image: Tensor) -> Tensor:
        """A picture (B, C, H, W) in float32 to pre-activations (B, O, H, W)."""
        if self.vgg is None:
            return self.direct(self.engine.tensor(image))
        if len(image) > 1:
            return torch.cat([self(one) for one in torch.split(image, 1)])
        picture = self.engine.tensor(image)
        levels = self.vgg(picture)
        result = self.direct(torch.cat([picture, levels.next()], dim=1))
        add_resized_convs(result[0], self._parts(levels, image))
        return result

    def _parts(self, levels: _Levels, image: Tensor) -> Iterator[ResizedConv]:
        for mixing in self.mixings:
            level = levels.next()[0]
            height, width = Axis(level.shape[1], image.shape[2]), Axis(level.shape[2], image.shape[3])
            yield ResizedConv(level, mixing, height, width)


class FastNetwork:
    """One network from pictures to pictures.

    Args:
        shared_input: whether both streams read the same picture (stage one), so that their first
            convolutions are one.
    """

    def __init__(self, engine: Engine, network: YtmtNetwork, vgg: FastVgg | None, shared_input: bool) -> None:
        convs = first_convolutions(network)
        self.shared_input = shared_input
        self.first = (
            [FirstConv(engine, convs, vgg)]
            if shared_input
            else [FirstConv(engine, [conv], vgg) for conv in convs]
        )
        self.rest: FastU | FastPlain | FastOldU
        if isinstance(network, UNetwork):
            self.rest = FastU(engine, network)
        elif isinstance(network, PlainNetwork):
            self.rest = FastPlain(engine, network)
        else:
            self.rest = FastOldU(engine, network)

    def __call__(self, left: Tensor, right: Tensor) -> TwoStreams:
        """Two pictures (B, 3, H, W) to two pictures in float32.

        `right` is not looked at with a shared input.
        """
        if self.shared_input:
            both = self.first[0](left)
            return self.rest(*both.chunk(2, dim=1))
        return self.rest(self.first[0](left), self.first[1](right))


class FastSystem:
    """What `YtmtSystem` computes, for inference on one device in one dtype.

    Changes to the system's weights are not seen.
    """

    def __init__(self, system: YtmtSystem, device: torch.device, dtype: torch.dtype) -> None:
        self.engine = Engine(device, dtype)
        vgg = FastVgg(self.engine, system.vgg) if system.vgg is not None else None
        self.networks = [FastNetwork(self.engine, system.stage1, vgg, shared_input=True)]
        if system.stage2 is not None:
            self.networks.append(FastNetwork(self.engine, system.stage2, vgg, shared_input=False))

    @torch.no_grad()
    def stages(self, image: Tensor) -> list[TwoStreams]:
        """The (transmission, reflection) of each stage, (B, 3, H, W) in float32; see `YtmtSystem.stages`."""
        results: list[TwoStreams] = []
        image = image.to(self.engine.device, torch.float32)
        pair = image, image
        for network in self.networks:
            pair = network(*pair)
            results.append(pair)
        return results


def first_convolutions(network: YtmtNetwork) -> list[nn.Conv2d]:
    """The first convolution of the left and of the right stream."""
    if isinstance(network, OldUNetwork):
        blocks = [network.get_submodule("inc_1"), network.get_submodule("inc_2")]
    else:
        dual = network.inc if isinstance(network, UNetwork) else network.conv1
        blocks = [dual.conv_l, dual.conv_r]
    convs = []
    for block in blocks:
        assert isinstance(block, StreamConv | FirstBlock)
        conv = block.model[0]
        assert isinstance(conv, nn.Conv2d)
        convs.append(conv)
    return convs

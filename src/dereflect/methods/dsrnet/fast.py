"""DSRNet on one picture without gradients: in place, both streams as one batch; equal to the plain form.

Its streams begin equal in every block of the pyramid that sees VGG-19's features, so half of the first stage
is done once. The residual is nearly half of the network's work and no layer needs it: it is made when asked
for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dereflect.methods.dsrnet.network import DSRNet
from dereflect.methods.dsrnet.residual import ResidualModule
from dereflect.methods.dsrnet.semantic import SemanticPyramid
from dereflect.nn.convolution import pointwise_product
from dereflect.nn.gated_in_place import bands, interact_, interact_alone_
from dereflect.nn.mugi import MuGIBlock
from dereflect.nn.single_stream import SingleStreamBlock
from dereflect.nn.vgg import Vgg19

LayersAndMaybeResidual = tuple[Tensor, Tensor, Tensor | None]


@torch.no_grad()
def separate(network: DSRNet, vgg: Vgg19, image: Tensor, residual: bool = False) -> LayersAndMaybeResidual:
    """What ``network(image, vgg(image))`` gives, to rounding.

    Args:
        network: in the dtype to compute in; convolutions best channels last.
        vgg: the same.
        image: (B, 3, H, W) in that dtype, H and W multiples of ``network.config.size_multiple``.
        residual: whether to compute the residual too; else it comes back as None.
    """
    pictures = [_separate_one(network, vgg, picture, residual) for picture in image.split(1)]
    transmission = torch.cat([layers[0] for layers in pictures])
    reflection = torch.cat([layers[1] for layers in pictures])
    rests = [layers[2] for layers in pictures if layers[2] is not None]
    return transmission, reflection, torch.cat(rests) if rests else None


def _separate_one(network: DSRNet, vgg: Vgg19, image: Tensor, residual: bool) -> LayersAndMaybeResidual:
    image = image.contiguous(memory_format=torch.channels_last)
    z = _pyramid(network.intro, image, list(vgg.levels(image)))
    skips: list[Tensor] = []
    for encoder, down in zip(network.encoders, network.downs, strict=True):
        z = run_(cast(Iterable[nn.Module], encoder), z)
        skips.append(z)
        z = _shared(down)(z)
    z = run_(network.middle_blks, z)
    for decoder, up in zip(network.decoders, network.ups, strict=True):
        widen, shuffle = _shared(up)
        z = shuffle(pointwise_product(z, cast(nn.Conv2d, widen).weight))
        z += skips.pop()
        z = run_(cast(Iterable[nn.Module], decoder), z)
    layers = network.ending.seq(z)
    return layers[:1], layers[1:], _rest(network.lrm, z) if residual else None


def _pyramid(intro: SemanticPyramid, image: Tensor, levels: list[Tensor]) -> Tensor:
    """`SemanticPyramid.forward` for one picture; `levels` is emptied."""
    gated, _ = intro.block5
    below = F.interpolate(
        interact_(gated, levels.pop()), scale_factor=2, mode="bilinear", align_corners=True
    ).contiguous(memory_format=torch.channels_last)
    for own, joining in (
        (intro.block4, intro.ch_map4),
        (intro.block3, intro.ch_map3),
        (intro.block2, intro.ch_map2),
    ):
        wide, shuffle = _shared(joining[0])
        below = shuffle(_joined(cast(nn.Conv2d, wide), below, interact_(own[0], levels.pop())))
        below = interact_(joining[1], below)
    first, gated_wide, second, gated_narrow = intro.ch_map1
    wide, narrow = (cast(nn.Conv2d, _shared(layer)[0]) for layer in (first, second))
    below = _joined(wide, below, interact_(intro.block1[0], levels.pop()))
    below = interact_(gated_wide, below)
    below = interact_(gated_narrow, pointwise_product(below, narrow.weight, narrow.bias))
    beside = interact_(intro.block_intro[1], _shared(intro.block_intro[0])(image))
    return _joined(cast(nn.Conv2d, intro.ch_map0.seq[0]), below, beside)


def _shared(layer: nn.Module) -> nn.Sequential:
    """The chain of layers that both streams go through."""
    chain: nn.Sequential = cast(nn.Sequential, layer.seq)
    return chain


def _joined(conv: nn.Conv2d, below: Tensor, beside: Tensor) -> Tensor:
    """A 1x1 convolution of the channels of both, without laying them side by side."""
    channels = below.shape[1]
    result = pointwise_product(below, conv.weight[:, :channels].contiguous(), conv.bias)
    weight = conv.weight[:, channels:].contiguous()
    for top, bottom in bands(beside, beside.shape[1] + result.shape[1]):
        rows = slice(top, bottom)
        for place, source in zip(result[:, :, rows].split(1), beside[:, :, rows].split(1), strict=True):
            place.add_(pointwise_product(source, weight))
    return result


def _rest(module: ResidualModule, z: Tensor) -> Tensor:
    """`ResidualModule.forward` for one picture."""
    widen = cast(nn.Conv2d, module.intro.seq[0])
    z = pointwise_product(z, widen.weight, widen.bias)
    for block in module.blocks_inter:
        z = interact_(block, z)
    merged = torch.cat([z[:1], z[1:]], dim=1).contiguous(memory_format=torch.channels_last)
    del z
    for block in module.blocks_merge:
        merged = interact_alone_(cast(SingleStreamBlock, block), merged)
    return cast(Tensor, module.tail(merged))


def run_(blocks: Iterable[nn.Module], z: Tensor) -> Tensor:
    """Mutually gated blocks on (2, C, H, W), channels last; `z` is changed."""
    for block in blocks:
        z = interact_(cast(MuGIBlock, block), z)
    return z

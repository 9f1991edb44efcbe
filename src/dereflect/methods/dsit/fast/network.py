"""The whole network on one picture: maps are changed in place and let go when they are used up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dereflect.methods.dsit.attention import DualAttentionBlock
from dereflect.methods.dsit.fast.attention import both_meetings, dual_attention_
from dereflect.methods.dsit.network import DSIT, ConvPrior
from dereflect.methods.residual_criteria import LayersAndResidual
from dereflect.nn.convolution import pointwise_product
from dereflect.nn.gated_in_place import interact_, interact_alone_
from dereflect.nn.mugi import MuGIBlock, Twice
from dereflect.nn.single_stream import SingleStreamBlock
from dereflect.nn.swin_in_place import feature_maps


@torch.no_grad()
def separate(network: DSIT, image: Tensor) -> LayersAndResidual:
    """What ``network(image)`` gives, to rounding.

    Args:
        network: in the dtype to compute in; convolutions best channels last.
        image: (B, 3, H, W) in that dtype, H and W multiples of 32.
    """
    pictures = [_separate_one(network, picture) for picture in image.split(1)]
    transmission, reflection, residual = (torch.cat(parts) for parts in zip(*pictures, strict=True))
    return transmission, reflection, residual


def _separate_one(network: DSIT, image: Tensor) -> LayersAndResidual:
    image = image.contiguous(memory_format=torch.channels_last)
    levels = convolutional_prior(network.conv_prior, image)  # full resolution is computed again below
    swin = list(feature_maps(network.swin_prior, image))
    merging, joining = network.aib5[1], network.aib5[2]
    z = _meet(merging, F.pixel_shuffle(swin.pop(), 2), F.pixel_shuffle(levels.pop(), 2))
    pointwise = cast(nn.Conv2d, cast(Twice, joining).seq[0])
    z = pointwise_product(z, pointwise.weight, None if pointwise.bias is None else 2 * pointwise.bias)
    z += _meet(network.aib4[0], swin.pop(), levels.pop())
    z = run_(network.lib4, z)
    z += _meet(network.aib3[0], swin.pop(), levels.pop())
    z = run_(network.lib3, z)
    z += _meet(network.aib2[0], swin.pop(), levels.pop())
    z = run_(network.lib2, z)
    z += levels.pop()
    z = run_(network.lib1, z)
    z += network.conv_prior.stem.seq(image)
    z = run_(network.lib0, z)
    layers = network.out.seq(z)
    summed = z[:1].add_(z[1:])
    block, last = network.lrm
    return layers[:1], layers[1:], torch.tanh(last(interact_alone_(cast(SingleStreamBlock, block), summed)))


def convolutional_prior(prior: ConvPrior, image: Tensor) -> list[Tensor]:
    """Both streams (2, C, h, w) at 1/2, 1/4, .. 1/32 of a picture (1, 3, H, W)."""
    z = prior.stem.seq(image)  # both streams are the same so far
    levels: list[Tensor] = []
    for level in range(1, 6):
        kept = z if level == 1 else z.clone()
        z = run_(cast(Iterable[nn.Module], prior.get_submodule(f"block{level}")), kept)
        levels.append(z)
    return levels


def run_(layers: Iterable[nn.Module], z: Tensor) -> Tensor:
    """A chain of layers of two streams on (2, C, H, W), channels last; `z` is changed."""
    for layer in layers:
        if isinstance(layer, DualAttentionBlock):
            z = dual_attention_(layer, z)
        elif isinstance(layer, MuGIBlock):
            z = interact_(layer, z)
        else:
            z = cast(Twice, layer).seq(z)
    return z


def _meet(block: nn.Module, swin: Tensor, streams: Tensor) -> Tensor:
    """Sum of both results of each stream's meeting with the Swin features; (2, C, H, W)."""
    met = both_meetings(cast(DualAttentionBlock, block), swin, streams)
    sums = torch.cat([pair[:1].add_(pair[1:]) for pair in met])
    return sums.contiguous(memory_format=torch.channels_last)

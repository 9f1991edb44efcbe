"""The whole of RDNet, fast: see `dereflect.methods.rdnet.network`, whose weights are used as they are."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from dereflect.methods.rdnet.column import Column, Fusion, Level
from dereflect.methods.rdnet.fast.parts import channel_norm, convnext, focalnet, naf_block, weights
from dereflect.methods.rdnet.fast.products import linear, norm
from dereflect.methods.rdnet.network import RDNet, TwoLayers, at_half_size
from dereflect.methods.rdnet.prompt import smaller_copy
from dereflect.nn.mugi import ChannelNorm
from dereflect.nn.naf import NafBlock


def separate(network: RDNet, image: Tensor) -> TwoLayers:
    """The last column's layers, as `RDNet.separate` gives them; gradients must not be recorded.

    Args:
        network: in eval mode.
        image: (B, 3, H, W) in [0, 1] in the network's dtype, H and W multiples of 16.
    """
    maps = zip(network.baseball_adapter, focalnet(network.baseball, image), strict=True)
    stem, *states = (linear(m, *weights(cast(nn.Conv2d, adapter))) for adapter, m in maps)
    factors = prompt_factors(network, image)
    x = stem if factors is None else stem.mul_(factors.permute(0, 2, 3, 1))
    for one in network.columns():
        states = column(one, x, states)
    del x, stem
    return network.decode(image, [state.permute(0, 3, 1, 2) for state in states])


def prompt_factors(network: RDNet, image: Tensor) -> Tensor | None:
    """See `RDNet.factors`; of a map, the first layer is computed before the map is enlarged."""
    if network.config.prompt == "none":
        return None
    classifier, prompt = network.classifier, network.prompt
    features = convnext(classifier.model, smaller_copy(image))
    if network.config.prompt == "map":
        return prompt[2](prompt[1](at_half_size(prompt[0](features), image)))
    return prompt(classifier.head(classifier.model.pooled(features)))[:, :, None, None]


def column(one: Column, x: Tensor, states: list[Tensor]) -> list[Tensor]:
    """See `Column.forward`; all (B, h, w, C). Old states are used up."""
    one.clamp_alphas()
    below, new = x, []
    for number, (part, alpha) in enumerate(zip(one.levels(), one.alphas(), strict=True)):
        above = states[number + 1] if number + 1 < len(states) else None
        below = level(part, below, above).addcmul_(states[number], alpha.flatten())
        new.append(below)
    return new


def level(part: Level, down: Tensor, up: Tensor | None) -> Tensor:
    """See `Level.forward`."""
    y = fusion(part.fusion, down, up)
    for block in part.blocks:
        assert isinstance(block, NafBlock)
        y = naf_block(y, block)
    return y


def fusion(part: Fusion, down: Tensor, up: Tensor | None) -> Tensor:
    """See `Fusion.forward`."""
    result = down
    if part.from_below:
        conv, layer = part.down
        assert isinstance(layer, ChannelNorm)
        result = channel_norm(conv(down.permute(0, 3, 1, 2)).permute(0, 2, 3, 1), layer)
    if not part.from_above or up is None:
        return result
    product, layer = part.up.channel_reschedule
    assert isinstance(product, nn.Linear)
    assert isinstance(layer, nn.LayerNorm)
    small = norm(linear(up, product.weight, product.bias), layer).permute(0, 3, 1, 2)
    return result + F.interpolate(small, scale_factor=2, mode="bilinear").permute(0, 2, 3, 1)

"""Pieces that the DMDNet tests share."""

import torch

from dereflect.methods.dmdnet.network import DEPTH_CHANNELS, DepthFeatures, DMDNet


def wake(network: DMDNet) -> DMDNet:
    """Give the layers that start at zero some weight, so that every part matters."""
    torch.manual_seed(11)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith((".a_l", ".a_r", ".b", "gate.fc1.weight")):
                parameter.copy_(torch.randn_like(parameter) * 0.2)
    return network


def random_depth(height, width, batch=1, dtype=torch.float32):
    """Depth features of a picture of a size that is a multiple of 32."""
    semantics = tuple(
        torch.randn(batch, channels, height >> (level - 1), width >> (level - 1), dtype=dtype)
        for level, channels in DEPTH_CHANNELS.items()
    )
    return DepthFeatures(semantics, torch.rand(batch, 1, height, width, dtype=dtype) * 3)

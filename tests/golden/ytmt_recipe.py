"""Networks with the weights that YTMT's fixtures were made with: every tensor from its key and a seed."""

import math
import zlib
from functools import cache

import torch
from fixtures import GoldenFile
from torch import Tensor, nn

from dereflect.methods.ytmt.config import NAMED, YtmtConfig
from dereflect.methods.ytmt.two_stage import YtmtSystem, build_network
from dereflect.nn.vgg import Vgg19

OUTPUT = 1e-4
"""Largest difference allowed in outputs of networks, as the fixtures ask: processors round differently."""


def recipe_tensor(key: str, shape: tuple[int, ...], seed: int, family: str) -> Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(key.encode("utf-8")) ^ seed)
    x = torch.randn(shape, generator=generator)
    if len(shape) >= 2:
        if family != "net":
            gain = 2**0.5
        elif ".pa." in key or ".ca." in key or key.startswith("out"):
            gain = 1.0
        elif "fusion" in key:
            gain = 2**0.5
        else:
            gain = 2.0
        return x * (gain / math.sqrt(math.prod(shape[1:])))
    if key.endswith("weight"):
        return 1 + 0.1 * x
    if key.endswith((".pa.2.bias", ".ca.2.bias")):
        return 1 + 0.05 * x
    return 0.05 * x


def fill(network: nn.Module, seed: int, family: str) -> nn.Module:
    state = network.state_dict()
    network.load_state_dict({k: recipe_tensor(k, tuple(v.shape), seed, family) for k, v in state.items()})
    return network


def named(network: str, **changes) -> YtmtConfig:
    settings = NAMED[network.removeprefix("ytmt_")]
    return YtmtConfig(**{**settings.__dict__, **changes})


def filled(config: YtmtConfig, seed: str | int) -> nn.Module:
    return fill(build_network(config), int(seed), "net").eval()


@cache
def filled_vgg(seed: str) -> Vgg19:
    vgg = Vgg19()
    fill(vgg, int(seed), "vgg")
    return vgg


def channels(file: GoldenFile) -> dict[str, bool]:
    return {"hypercolumn": file.metadata["in_channels"] == "1475"}


def system_of(name: str, vgg: Vgg19, seeds: list[str]) -> YtmtSystem:
    system = YtmtSystem(named(name, stages=len(seeds)), vgg)
    for stage, seed in zip((system.stage1, system.stage2), seeds, strict=False):
        fill(stage, int(seed), "net")
    return system.eval()

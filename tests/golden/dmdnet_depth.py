"""Golden checks of DMDNet's depth network; `test_dmdnet.py` runs them."""

import re
from collections.abc import Callable

import pytest
from dmdnet_recipe import fill
from fixtures import GoldenFile, section
from torch import nn

from dereflect.methods.dmdnet.depth import DepthNetwork, FusionBlock, ResidualUnit
from dereflect.methods.dmdnet.next_vit import (
    MHCA,
    ConvBlock,
    ConvNormReLU,
    EfficientAttention,
    PatchProjection,
    TransformerBlock,
)

Shapes = dict[str, list[int]]


def number_after(mark: str, name: str, otherwise: int = 1) -> int:
    """The number that a case's name holds behind ``_mark``, e.g. 4 in ``E_MHSA_sr4``."""
    found = re.search(rf"_{mark}(\d+)", name)
    return int(found[1]) if found else otherwise


def projection(name: str, state: Shapes) -> nn.Module:
    width, narrow = state.get("conv.weight", [1, 1])[:2]
    return PatchProjection(narrow, width, number_after("s", name))


def conv_block(name: str, state: Shapes) -> nn.Module:
    width = state["mhca.projection.weight"][0]
    given = state.get("patch_embed.conv.weight", [width, width])[1]
    return ConvBlock(given, width, number_after("s", name))


def transformer_block(name: str, state: Shapes) -> nn.Module:
    width, attended = state["mlp.conv2.weight"][0], state["e_mhsa.q.weight"][0]
    given = state.get("patch_embed.conv.weight", [attended, attended])[1]
    return TransformerBlock(given, width, number_after("s", name), number_after("sr", name))


BUILDERS: dict[str, Callable[[str, Shapes], nn.Module]] = {
    "ConvBNReLU": lambda name, state: ConvNormReLU(
        state["conv.weight"][1], state["conv.weight"][0], number_after("s", name)
    ),
    "PatchEmbed": projection,
    "MHCA": lambda name, state: MHCA(state["projection.weight"][0]),
    "NCB": conv_block,
    "E_MHSA": lambda name, state: EfficientAttention(state["q.weight"][0], number_after("sr", name)),
    "NTB": transformer_block,
    "RCU": lambda name, state: ResidualUnit(state["conv1.weight"][0]),
    "FFB": lambda name, state: FusionBlock(state["out_conv.weight"][0]),
}
"""Blocks by the beginning of a case's name; their sizes are those of the weights."""


def check_depth_blocks(file: GoldenFile) -> None:
    about = section(file)
    for name in file.groups():
        state = about["state"][name]
        build = next(build for kind, build in BUILDERS.items() if re.match(rf"{kind}(_|$)", name))
        module = fill(build(name, state).eval(), file, about["seed"], f"{name}.", "depth")
        assert {key: list(value.shape) for key, value in module.state_dict().items()} == state
        if isinstance(module, FusionBlock):
            check_fusion(file, name, module)
        else:
            file.compare(f"{name}.y", module(file.take(f"{name}.x")), atol=2e-5)


def check_fusion(file: GoldenFile, name: str, fusion: FusionBlock) -> None:
    coarser, finer = file.take(f"{name}.x0"), file.take(f"{name}.x1")
    twice = 2 * finer.shape[2], 2 * finer.shape[3]
    file.compare(f"{name}.one", fusion(coarser, None, twice), atol=2e-5)
    file.compare(f"{name}.two", fusion(finer, coarser, twice), atol=2e-5)
    sized = tuple(file.take(f"{name}.sized").shape[2:])
    file.compare(f"{name}.sized", fusion(finer, coarser, sized), atol=2e-5)


def recipe_depth_network(file: GoldenFile, seed: int) -> DepthNetwork:
    return fill(DepthNetwork(), file, seed, family="depth")


def check_depth_full(file: GoldenFile) -> None:
    about = section(file)
    network = recipe_depth_network(file, about["seed"])
    for case in file.groups():
        result = network(file.take(f"{case}.image"))
        named = {"final_output": result.proximity}
        named |= {f"layer{i}": layer for i, layer in enumerate(result.layers, start=1)}
        named |= {f"layer{i}_rn": layer for i, layer in enumerate(result.narrowed, start=1)}
        named |= {f"path_{i}": path for i, path in enumerate(result.paths, start=1)}
        for name, value in named.items():
            if f"{case}.{name}" in file:
                file.compare(f"{case}.{name}", value, atol=1e-4)
            stats = about["stats"].get(f"{case}.{name}")
            if stats:
                assert list(value.shape) == stats["shape"]
                assert value.mean().item() == pytest.approx(stats["mean"], abs=1e-5)
                assert value.std().item() == pytest.approx(stats["std"], rel=1e-4)

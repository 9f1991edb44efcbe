"""Golden checks of DMDNet's depth network; `test_dmdnet.py` runs them."""

import pytest
from dmdnet_recipe import fill
from fixtures import GoldenFile, section

from dereflect.methods.dmdnet.depth import DepthNetwork, FusionBlock, ResidualUnit
from dereflect.methods.dmdnet.next_vit import (
    MHCA,
    ConvBlock,
    ConvNormReLU,
    EfficientAttention,
    PatchProjection,
    TransformerBlock,
)


def check_depth_blocks(file: GoldenFile) -> None:
    about = section(file)
    modules = {
        "ConvBNReLU_s2": ConvNormReLU(3, 16, 2),
        "PatchEmbed_s2": PatchProjection(32, 64, 2),
        "PatchEmbed_s1": PatchProjection(32, 64, 1),
        "MHCA": MHCA(64),
        "NCB_s1": ConvBlock(32, 64),
        "NCB_s2": ConvBlock(64, 96, 2),
        "NCB_id": ConvBlock(64, 64),
        "E_MHSA_sr4": EfficientAttention(64, 4),
        "E_MHSA_sr2": EfficientAttention(64, 2),
        "E_MHSA_sr1": EfficientAttention(64, 1),
        "NTB_sr4": TransformerBlock(96, 128, 1, 4),
        "NTB_sr2": TransformerBlock(64, 128, 1, 2),
        "NTB_sr1": TransformerBlock(192, 256, 1, 1),
        "RCU": ResidualUnit(16),
    }
    for name, module in modules.items():
        fill(module.eval(), file, about["seed"], f"{name}.", "depth")
        assert {key: list(value.shape) for key, value in module.state_dict().items()} == about["state"][name]
        x = file.take(f"{name}.x")
        file.compare(f"{name}.y", module(x), atol=2e-5)
    fusion = fill(FusionBlock(16), file, about["seed"], "FFB.", "depth")
    assert {key: list(value.shape) for key, value in fusion.state_dict().items()} == about["state"]["FFB"]
    coarser, finer = file.take("FFB.x0"), file.take("FFB.x1")
    twice = 2 * finer.shape[2], 2 * finer.shape[3]
    file.compare("FFB.one", fusion(coarser, None, twice), atol=2e-5)
    file.compare("FFB.two", fusion(finer, coarser, twice), atol=2e-5)
    file.compare("FFB.sized", fusion(finer, coarser, tuple(file.take("FFB.sized").shape[2:])), atol=2e-5)


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

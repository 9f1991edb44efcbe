"""Fixture access of the DSRNet and DSIT golden tests: the manifest and recipe that lie beside the files."""

from pathlib import Path
from types import ModuleType
from typing import Any

import fixtures
import torch
from fixtures import GoldenFile, section
from torch import nn

from dereflect.methods.dsit.config import DSITConfig
from dereflect.methods.dsit.network import DSIT
from dereflect.methods.dsrnet.config import DSRNetConfig
from dereflect.methods.dsrnet.network import DSRNet
from dereflect.nn.vgg import LEVEL_LAYERS, Vgg19

OWN = Path(__file__).parent / "data" / "dsrnet_dsit"


def recipe(folder: Path) -> ModuleType:
    """The recipe beside the files, or ours."""
    return fixtures.recipe(folder if (folder / "recipe.py").is_file() else OWN)


def fill(module: nn.Module, file: GoldenFile, seed: int, prefix: str = "", family: str = "net") -> nn.Module:
    """Put the recipe's weights into a module (in its dtype)."""
    return recipe(file.path.parent).apply_recipe(module, seed, family, prefix)


def vgg_of(file: GoldenFile, taps: tuple[int, ...] = LEVEL_LAYERS) -> Vgg19:
    return fill(Vgg19(taps), file, section(file)["metadata"]["vgg_seed"], family="vgg")


def dsit_config(about: dict[str, Any] | str) -> DSITConfig:
    """The fixture's configuration; the published one is told in words."""
    if isinstance(about, str):
        return DSITConfig()
    return DSITConfig(
        width=about["c"],
        swin_depths=tuple(about["swin_depths"]),
        swin_heads=tuple(about["swin_heads"]),
        swin_window=about["swin_window"],
        heads=tuple(about["heads"]),
        window=about["window"],
        resolution=about["res"],
        attention_blocks=tuple(about["enc"]),
        gated_blocks=tuple(about["dec"]),
    )


def dsrnet_config(about: dict[str, Any], **changes: Any) -> DSRNetConfig:
    return DSRNetConfig(
        **{
            "width": about["width"],
            "encoder_blocks": tuple(about["enc_blk_nums"]),
            "middle_blocks": about["middle_blk_num"],
            "decoder_blocks": tuple(about["dec_blk_nums"]),
            "residual_blocks": tuple(about["lrm_blk_nums"]),
            "shared_b": about["shared_b"],
            **changes,
        }
    )


def filled_dsit(file: GoldenFile) -> DSIT:
    data = section(file)["metadata"]
    return fill(DSIT(dsit_config(data["config"])), file, data["seed"]).eval()


def filled_dsrnet(file: GoldenFile, config: DSRNetConfig) -> DSRNet:
    return fill(DSRNet(config), file, section(file)["metadata"]["seed"]).eval()


def both_dtypes(f64: float, f32: float) -> list[tuple[torch.dtype, float]]:
    """The dtypes that a fixture is checked in, with the largest difference allowed."""
    return [(torch.float64, f64), (torch.float32, f32)]

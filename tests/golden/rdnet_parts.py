"""The checks of RDNet's single parts: blocks, one column, the backbone and the classifier."""

import re
from collections.abc import Callable

import torch
from fixtures import GoldenFile, manifest, section
from rdnet_recipe import both, fill, tiny_config
from torch import Tensor, nn

from dereflect.methods.rdnet.column import Column, Fusion, Level, UpConvolution, away_from_zero
from dereflect.methods.rdnet.config import RDNetConfig
from dereflect.methods.rdnet.decoder import Decoder
from dereflect.methods.rdnet.network import at_half_size
from dereflect.methods.rdnet.prompt import Classifier, StarReLU, prompt_layers, smaller_copy
from dereflect.methods.rdnet.reversible import reversible
from dereflect.nn.convnext import ConvNeXtConfig, ConvNeXtStage
from dereflect.nn.focalnet import (
    FocalBlock,
    FocalModulation,
    FocalNet,
    FocalNetConfig,
    FocalStage,
    PatchEmbedding,
)
from dereflect.nn.mugi import ChannelNorm
from dereflect.nn.naf import NafBlock

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}
Shapes = dict[str, list[int]]


# --- blocks: each case says by its name what it is, and by its weights' shapes how large ---


def norm(file: GoldenFile, case: str, state: Shapes) -> nn.Module:
    return ChannelNorm(state[f"{case}.weight"][0], 1e-6)


def naf(file: GoldenFile, case: str, state: Shapes) -> nn.Module:
    channels = state[f"{case}.beta"][1]
    return NafBlock(channels, state[f"{case}.conv1.weight"][0] // channels)


def up_convolution(file: GoldenFile, case: str, state: Shapes) -> nn.Module:
    width, above = state[f"{case}.channel_reschedule.0.weight"]
    return UpConvolution(above, width)


def fusion(file: GoldenFile, case: str, state: Shapes) -> nn.Module:
    down, up = state.get(f"{case}.down.0.weight"), state.get(f"{case}.up.channel_reschedule.0.weight")
    width = down[0] if down else up[0] if up else 1
    return Fusion(down[1] if down else None, width, up[1] if up else None)


def level(file: GoldenFile, case: str, state: Shapes) -> nn.Module:
    config = tiny_config(file)
    number = int(re.match(r"level(\d)", case)[1])
    return Level(number, config.channels, config.blocks[number], case.endswith("_first"))


def decoder(file: GoldenFile, case: str, state: Shapes) -> nn.Module:
    return Decoder(tiny_config(file).channels)


def prompt(file: GoldenFile, case: str, state: Shapes) -> nn.Module:
    hidden, width = state[f"{case}.0.weight"][0], state[f"{case}.2.weight"][0]
    return prompt_layers(RDNetConfig(prompt_width=hidden, channels=(width, width, width, width)))


def focal_config(state: Shapes, prefix: str) -> FocalNetConfig:
    levels = [key for key in state if re.fullmatch(rf"{re.escape(prefix)}focal_layers\.\d+\.0\.weight", key)]
    first = state[f"{prefix}focal_layers.0.0.weight"]
    return FocalNetConfig(width=first[0], focal_levels=len(levels), focal_window=first[2])


def focal_modulation(file: GoldenFile, case: str, state: Shapes) -> nn.Module:
    config = focal_config(state, f"{case}.")
    return FocalModulation(config.width, config.focal_levels, config.focal_window)


def focal_block(file: GoldenFile, case: str, state: Shapes) -> nn.Module:
    config = focal_config(state, f"{case}.modulation.")
    return FocalBlock(config.width, 0.3, config)


def focal_stage(file: GoldenFile, case: str, state: Shapes) -> nn.Module:
    config = focal_config(state, f"{case}.blocks.0.modulation.")
    blocks = {key.split(".")[2] for key in state if key.startswith(f"{case}.blocks.")}
    down = f"{case}.downsample.proj.weight" in state
    return FocalStage(config.width, [0.3] * len(blocks), config, down)


def stem(file: GoldenFile, case: str, state: Shapes) -> nn.Module:
    width, channels, kernel, _ = state[f"{case}.proj.weight"]
    return PatchEmbedding(channels, width, kernel, 2, multiple=4 if case == "stem" else 2)


def convnext_stage(file: GoldenFile, case: str, state: Shapes) -> nn.Module:
    width, narrow = state[f"{case}.downsample.1.weight"][:2]
    return ConvNeXtStage(narrow, width, sum(key.endswith(".gamma") for key in state), 1e-6)


def classifier(file: GoldenFile, case: str, state: Shapes) -> nn.Module:
    stages = range(4)
    gammas = [
        [k for k in state if re.fullmatch(rf"{case}\.model\.stages\.{i}\.blocks\.\d+\.gamma", k)]
        for i in stages
    ]
    config = ConvNeXtConfig(
        tuple(len(found) for found in gammas), tuple(state[found[0]][0] for found in gammas)
    )
    return Classifier(config, numbers=f"{case}.head.weight" in state)


BUILDERS: dict[str, Callable[[GoldenFile, str, Shapes], nn.Module]] = {
    "ln2d|lncf": norm,
    "star": lambda file, case, state: StarReLU(),
    r"naf\d": naf,
    "upconv": up_convolution,
    r"fusion\d(_first)?": fusion,
    r"level\d(_first)?": level,
    r"decoder(_stage\d)?": decoder,
    "prompt": prompt,
    "focal_mod": focal_modulation,
    "focal_block": focal_block,
    "focal_stage": focal_stage,
    "stem|patch_down": stem,
    r"convnext_stage\d": convnext_stage,
    "classifier(_v2)?_tiny": classifier,
}


def check_blocks(file: GoldenFile) -> None:
    states = section(file)["state"]
    for case in file.groups():
        builder = next(make for pattern, make in BUILDERS.items() if re.fullmatch(pattern, case))
        prefix = "decoder." if case.startswith("decoder") else f"{case}."
        for name, dtype in both(file, case):
            block = fill(builder(file, case, states[case]), file, prefix).to(dtype).eval()
            assert {f"{prefix}{k}": list(v.shape) for k, v in block.state_dict().items()} == states[case], (
                case
            )
            outputs = run_block(file, case, block, dtype)
            for key, output in outputs.items():
                file.compare(key.format(name), output, atol=TOLERANCE[dtype])
        if f"{case}.grad_out" in file:
            check_gradients(file, case, builder(file, case, states[case]))


def run_block(file: GoldenFile, case: str, block: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """Outputs by the key that they are stored under ("{}" stands for y32 or y64)."""

    def given(name: str) -> Tensor:
        return file.take(f"{case}.{name}").to(dtype)

    plain = f"{case}.{{}}"
    if case == "decoder":
        return {plain: block([given(f"c{number}") for number in range(4)])}
    if found := re.fullmatch(r"decoder_stage(\d)", case):
        return {plain: block.stage(int(found[1]), given("c3"))}
    if re.match(r"fusion|level", case):
        return {plain: block(given("down"), given("up") if f"{case}.up" in file else None)}
    x = given("x")
    if case in ("stem", "patch_down"):
        return {plain: block(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)}
    if case == "focal_block":
        return {plain: block(grid(file, x)).flatten(1, 2)}
    if case == "focal_stage":
        tokens, smaller = block(grid(file, x))
        return {f"{plain}.0": tokens.flatten(1, 2), f"{plain}.1": smaller.flatten(1, 2)}
    if case == "classifier_v2_tiny":
        return {plain: at_half_size(block.features(x), x)}
    return {plain: block(x)}


def grid(file: GoldenFile, tokens: Tensor) -> Tensor:
    """(B, L, D) tokens as (B, H, W, D): of the size that the modulation's or another case's picture has."""
    shapes = manifest(file.path.parent)["blocks"]["shapes"]
    sizes = [shapes[key][1:3] for key in shapes if key.startswith("focal_mod.")]
    sizes += [shape[2:] for shape in shapes.values() if len(shape) == 4]
    return tokens.unflatten(1, next(size for size in sizes if size[0] * size[1] == tokens.shape[1]))


def check_gradients(file: GoldenFile, case: str, block: nn.Module) -> None:
    block = fill(block, file, f"{case}.").double()
    x = file.take(f"{case}.x").double().requires_grad_()
    with torch.enable_grad():
        (block(x) * file.take(f"{case}.grad_out").double()).sum().backward()
    for match in file.matching(rf"{case}\.grad\.(.+)"):
        gradient = x.grad if match[1] == "x" else block.get_parameter(match[1]).grad
        file.compare(match[0], gradient, atol=1e-11, rtol=1e-11)


# --- one column ---


def check_column(file: GoldenFile) -> None:
    about = section(file)
    for case in [group for group in file.groups() if group != "clamp"]:
        for name, dtype in both(file, case):
            column = column_of(file, case, dtype)
            x, states = column_inputs(file, case, dtype)
            for number, state in enumerate(column(x, states)):
                file.compare(f"{case}.{name}.c{number}", state, atol=TOLERANCE[dtype])
            if f"{case}.alpha1_out" in file:
                file.compare(f"{case}.alpha1_out", column.alpha1, atol=1e-7)
        for way, tolerance in ((Column.__call__, 1e-10), (reversible, 1e-8)):
            found = column_gradients(file, case, way)
            for match in file.matching(rf"{case}\.grad\.(.+)"):
                file.compare(match[0], found[match[1]], atol=tolerance, rtol=tolerance)
            for key, wanted in about[case]["grad_norms"].items():
                assert abs(found[key].norm().item() - wanted) <= 10 * tolerance * max(wanted, 1), (case, key)
            assert {key for key in found if found[key] is None} == set(about[case]["no_grad"])
    if "clamp.in" in file:
        file.compare("clamp.out", away_from_zero(file.take("clamp.in")))


def column_of(file: GoldenFile, case: str, dtype: torch.dtype) -> Column:
    about = section(file)
    column = fill(Column(about["channels"], about["layers"], first=case == "first"), file, f"{case}.")
    if f"{case}.alpha1_in" in file:
        column.alpha1.data.copy_(file.take(f"{case}.alpha1_in"))
    return column.to(dtype)


def column_inputs(file: GoldenFile, case: str, dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
    states = [file.take(f"{case}.c{number}").to(dtype) for number in range(4)]
    return file.take(f"{case}.x").to(dtype), states


def column_gradients(file: GoldenFile, case: str, way: Callable) -> dict[str, Tensor | None]:
    column = column_of(file, case, torch.float64)
    x, states = column_inputs(file, case, torch.float64)
    inputs = [tensor.requires_grad_() for tensor in (x, *states)]
    with torch.enable_grad():
        new = way(column, inputs[0], inputs[1:])
        wanted = [file.take(f"{case}.grad_out{number}").double() for number in range(4)]
        torch.autograd.backward(new, wanted)
    names = ("in.x", "in.c0", "in.c1", "in.c2", "in.c3")
    found = {name: tensor.grad for name, tensor in zip(names, inputs, strict=True)}
    return found | {name: parameter.grad for name, parameter in column.named_parameters()}


# --- backbone and classifier ---

MAPS = ("stem", "out0", "out1", "out2", "out3")


def check_backbone_small(file: GoldenFile) -> None:
    config = tiny_config(file).backbone
    for case in file.groups():
        for name, dtype in both(file, case):
            backbone = fill(FocalNet(config), file, section(file)["prefix"]).to(dtype).eval()
            maps = backbone(file.take(f"{case}.x").to(dtype))
            for key, found in zip(MAPS, maps, strict=True):
                atol = 5e-5 if dtype is torch.float32 else TOLERANCE[dtype]
                file.compare(f"{case}.{name}.{key}", found, atol=atol)


def check_backbone_full(file: GoldenFile) -> None:
    backbone = fill(FocalNet(RDNetConfig().backbone), file, section(file)["prefix"]).double().eval()
    for case in file.groups():
        maps = dict(zip(MAPS, backbone(file.take(f"{case}.x").double()), strict=True))
        for match in file.matching(rf"{case}\.y64\.(\w+)\.every(\d+)"):
            file.compare(match[0], maps[match[1]][:, :: int(match[2])], atol=1e-11)
        for key, found in maps.items():
            check_statistics(section(file)["stats"][f"{case}.{key}"], found)


def check_statistics(wanted: dict, found: Tensor, tolerance: float = 1e-9) -> None:
    assert list(found.shape) == wanted["shape"]
    assert abs(found.mean().item() - wanted["mean"]) <= tolerance
    deviations = [found.std(correction=c).item() for c in (0, 1) if found.numel() > c]
    assert min(abs(deviation - wanted["std"]) for deviation in deviations) <= tolerance


def check_classifier_full(file: GoldenFile) -> None:
    prefixes = [part.strip() for part in section(file)["prefix"].split("/")]
    parts = Classifier(RDNetConfig().classifier), prompt_layers(RDNetConfig())
    network, layers = (fill(part, file, prefix) for part, prefix in zip(parts, prefixes, strict=True))
    for case in file.groups():
        for name, dtype in both(file, case):
            network.to(dtype)
            layers.to(dtype).eval()
            x = file.take(f"{case}.x").to(dtype)
            features = network.features(x)
            found = {"features": features, "pooled": network.model.pooled(features), "six": network(x)}
            found["prompt"] = layers(found["six"])
            for match in file.matching(rf"{case}\.{name}\.(\w+?)(?:\.every(\d+))?"):
                file.compare(match[0], found[match[1]][:, :: int(match[2] or 1)], atol=TOLERANCE[dtype])
        for match in file.matching(rf"{case}\.resized\.every(\d+)"):
            step, stored = int(match[1]), file.take(match[0])
            copy = smaller_copy(file.take(f"{case}.x").to(stored.dtype))
            file.compare(match[0], copy[..., ::step, ::step], atol=TOLERANCE[stored.dtype])

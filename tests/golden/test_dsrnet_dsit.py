"""Numbers of the reference implementations of DSRNet and DSIT, checked entry by entry."""

import re
from collections.abc import Mapping

import pytest
import torch
from dsrnet_dsit_blocks import check_blocks
from dsrnet_dsit_recipe import both_dtypes, dsrnet_config, filled_dsit, filled_dsrnet, recipe, vgg_of
from dsrnet_dsit_training import (
    check_augment,
    check_losses,
    check_protocol,
    check_synthesis,
    check_train_dsit,
    check_train_dsrnet,
)
from fixtures import Check, GoldenFile, golden_files, manifest, run_check, section
from torch import Tensor, nn

from dereflect.methods.dsit.fast import network as dsit_fast
from dereflect.methods.dsrnet import fast as dsrnet_fast
from dereflect.methods.dsrnet.network import DSRNet

SLOW = {"dsit_full"}
"""Files that take over a minute and several gigabytes."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "golden_file" in metafunc.fixturenames:
        folder = metafunc.config.getoption("--golden-dir") / "dsrnet_dsit"
        metafunc.parametrize(
            "golden_file",
            [
                pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in SLOW else [])
                for path in golden_files(folder) or [folder / "no-fixtures-found"]
            ],
        )


def test_golden_file(golden_file):
    with torch.no_grad():
        run_check(golden_file, CHECKS)


def check_recipe_check(file: GoldenFile) -> None:
    maker, seed = recipe(file.path.parent), section(file)["metadata"]["data_seed"]
    for key in file.keys:
        family, *parts = key.split("|")
        shape = tuple(int(side) for side in parts[-1].split(","))
        if family == "picture":
            file.compare(key, maker.picture(shape, parts[0], seed)[:, :, ::3, ::3])
        else:
            file.compare(key, maker.recipe_tensor(parts[1], shape, int(parts[0]), family).flatten()[:32])


def check_dsit(file: GoldenFile) -> None:
    full = file.name == "dsit_full"
    for dtype, atol in both_dtypes(*((1e-9, 1e-4) if full else (1e-10, 5e-5))):
        network = filled_dsit(file).to(dtype)
        for case in file.groups():
            seen = watched(network, ["swin_prior", "conv_prior", *(n for n, _ in network.named_children())])
            separated = network(file.take(f"{case}.image").to(dtype))
            for way in (separated, dsit_fast.separate(network, file.take(f"{case}.image").to(dtype))):
                for name, value in zip(("T", "R", "rr"), way, strict=True):
                    file.compare(f"{case}.{name}", value, atol=atol)
            if dtype is torch.float64:
                for match in file.matching(rf"{case}\.mid\.(.+)"):
                    compare_middle(file, match[0], dsit_middle(seen, match[1]), match[1].startswith("lib"))
        del network


def watched(network: nn.Module, names: list[str]) -> dict[str, list]:
    """Results of sub-modules by name, one for each call, noted as the network runs; valid for one run."""
    seen: dict[str, list] = {}
    for name in dict.fromkeys(names):
        module = network.get_submodule(name)
        module._forward_hooks.clear()

        def note(module: nn.Module, inputs: tuple, output: object, name: str = name) -> None:
            seen.setdefault(name, []).append(output)

        module.register_forward_hook(note)
    return seen


def dsit_middle(seen: dict[str, list], name: str) -> Tensor:
    if match := re.fullmatch(r"swin(\d)", name):
        return seen["swin_prior"][0][int(match[1])]
    if match := re.fullmatch(r"cp(\d)\.([lr])", name):
        return seen["conv_prior"][0][int(match[1])]["lr".index(match[2])]
    if match := re.fullmatch(r"(aib\d)\.([lr])\.(swin|conv)", name):
        return seen[match[1]]["lr".index(match[2])][("swin", "conv").index(match[3])]
    module, stream = name.split(".")
    return seen[module][0]["lr".index(stream)]


def compare_middle(file: GoldenFile, key: str, value: Tensor, thirds: bool) -> None:
    """The fixture holds every s-th channel of the first picture, rounded to float32."""
    expected, channels = file.take(key), value.shape[1]
    # As documented; the file of the full network shares its channels out one part finer.
    steps = [max(1, channels // part) for part in ((3, 4) if thirds else (4, 5))]
    step = next(step for step in steps if -(-channels // step) == expected.shape[1])
    assert expected.abs().max() > 0, key
    file.compare(key, value[:1, ::step], atol=1e-5 * expected.abs().max().item())


def check_dsrnet_small(file: GoldenFile) -> None:
    config, vgg = section(file)["metadata"]["config"], vgg_of(file)
    for name in sorted({match[1] for match in file.matching(r"\w+\.(shared|unshared)\.T")}):
        check_dsrnet(file, name, dsrnet_config(config, shared_b=name == "shared"), vgg, (1e-10, 5e-5))


def check_dsrnet_full(file: GoldenFile) -> None:
    variants, vgg = section(file)["metadata"]["variants"], vgg_of(file)
    for name in sorted({match[1] for match in file.matching(r"\w+\.(\w+)\.T")}):
        check_dsrnet(file, name, dsrnet_config(variants[name]), vgg, (1e-9, 1e-4))


def check_dsrnet(file: GoldenFile, name: str, config, vgg, tolerances: tuple[float, float]) -> None:
    network = filled_dsrnet(file, config)
    for dtype, atol in reversed(both_dtypes(*tolerances)):
        network, vgg = network.to(dtype), vgg.to(dtype)
        for match in file.matching(rf"(\w+)\.{name}\.T"):
            case = match[1]
            seen = watched(network, ["intro", "middle_blks", *watchable_intro(network)])
            image = file.take(f"{case}.image").to(dtype)
            levels = vgg(image)
            for way in (network(image, levels), dsrnet_fast.separate(network, vgg, image, residual=True)):
                for layer, value in zip(("T", "R", "rr"), way, strict=True):
                    file.compare(f"{case}.{name}.{layer}", value, atol=atol)
            if dtype is torch.float64:
                for middle in file.matching(rf"{case}\.{name}\.mid\.(.+)\.([lr])"):
                    value = seen[middle[1]][0]["lr".index(middle[2])]
                    compare_middle(file, middle[0], value, thirds=False)
                for level in file.matching(rf"{case}\.{name}\.vgg(\d)"):
                    compare_middle(file, level[0], levels[int(level[1]) - 1], thirds=False)
    vgg.float()


def watchable_intro(network: DSRNet) -> list[str]:
    return [f"intro.{name}" for name, _ in network.intro.named_children()]


def check_manifest(file: GoldenFile) -> None:
    stems = {path.stem for path in file.path.parent.glob("*.safetensors")}
    assert stems <= set(manifest(file.path.parent))


def check_recipe(file: GoldenFile) -> None:
    assert recipe(file.path.parent).recipe_tensor("a.weight", (3, 3), 1).isfinite().all()


CHECKS: Mapping[str, Check] = {
    "recipe_check": check_recipe_check,
    "blocks": check_blocks,
    "dsit_.*": check_dsit,
    "dsrnet_small": check_dsrnet_small,
    "dsrnet_full": check_dsrnet_full,
    "losses": check_losses,
    "train_dsit": check_train_dsit,
    "train_dsrnet": check_train_dsrnet,
    "synthesis": check_synthesis,
    "augment": check_augment,
    "protocol": check_protocol,
    "manifest": check_manifest,
    "recipe": check_recipe,
}

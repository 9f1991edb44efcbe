"""Numbers of the reference implementations of RDNet, checked entry by entry."""

import json
from collections.abc import Callable

import pytest
import torch
from fixtures import GoldenFile, golden_files, manifest, recipe, run_check, section
from rdnet_checkpoint import check_checkpoint_layout
from rdnet_parts import (
    check_backbone_full,
    check_backbone_small,
    check_blocks,
    check_classifier_full,
    check_column,
    check_statistics,
)
from rdnet_recipe import filled, filled_old, tiny_config
from rdnet_training import (
    check_augment,
    check_losses,
    check_protocol,
    check_synthesis,
    check_train_step,
)
from torch import Tensor

from dereflect.methods.rdnet.config import RDNetConfig
from dereflect.methods.rdnet.fast.network import separate
from dereflect.methods.rdnet.network import RDNet


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "golden_file" not in metafunc.fixturenames:
        return
    folder = metafunc.config.getoption("--golden-dir") / "rdnet"
    paths = golden_files(folder) or [folder / "no-fixtures-found"]
    metafunc.parametrize(
        "golden_file",
        [
            pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * ("_full" in path.stem))
            for path in paths
        ],
    )


def test_golden_file(golden_file):
    with torch.no_grad():
        run_check(golden_file, CHECKS)


def check_network_small(file: GoldenFile) -> None:
    check_network(file, lambda dtype: filled(file, tiny_config(file), dtype))


def check_network_ntire(file: GoldenFile) -> None:
    check_network(file, lambda dtype: filled(file, tiny_config(file, prompt="map"), dtype))


def check_network_full(file: GoldenFile) -> None:
    check_network(file, lambda dtype: filled(file, RDNetConfig(), dtype))


def check_network(file: GoldenFile, make: Callable[[torch.dtype], RDNet]) -> None:
    for name, dtype in (("f64", torch.float64), ("f32", torch.float32)):
        if not file.matching(rf"{name}\..*"):
            continue
        network = make(dtype)
        found = intermediates(network, file.take("x").to(dtype))
        fast = torch.cat(separate(network, file.take("x").to(dtype)), 1).double()
        wanted = found[f"out{network.config.columns - 1}"].double()
        assert (fast - wanted).norm() <= (1e-4 if dtype is torch.float32 else 1e-11) * wanted.norm()
        if state := section(file).get("state"):
            assert {k: list(v.shape) for k, v in network.state_dict().items()} == state
        for match in file.matching(rf"{name}\.(.+?)(?:\.every(\d+))?"):
            part = found[match[1]][:, :: int(match[2] or 1)]
            stored = file.take(match[0])
            if dtype is torch.float32:
                file.compare(match[0], part, atol=2e-3)
                file.compare_norm(match[0], part, limit=6e-5)  # both are in float32: twice 3e-5
            else:
                file.compare(match[0], part, atol=1e-10 if stored.dtype is torch.float64 else 2e-6)
        if dtype is torch.float64:
            for key, wanted in section(file).get("stats", {}).items():
                check_statistics(wanted, found[key])


def intermediates(network: RDNet, image: Tensor) -> dict[str, Tensor]:
    """Everything that a forward pass computes, by the fixtures' names, and the same layers by `forward`."""
    stem, states = network.start(image)
    found = {"stem": stem} | {f"base{number}": state for number, state in enumerate(states)}
    if network.config.prompt == "numbers":
        found["classifier"] = network.classifier(image)
    elif network.config.prompt == "map":
        size = image.shape[2] // 2, image.shape[3] // 2
        features = network.classifier.features(image)
        found["classifier"] = torch.nn.functional.interpolate(
            features, size, mode="bilinear", align_corners=True
        )
    factors = network.factors(image)
    found["prompt"] = factors.flatten(1) if factors.shape[2:] == (1, 1) else factors
    x = network.prompted(image, stem)
    for number, column in enumerate(network.columns()):
        states = column(x, states)
        found |= {f"column{number}.c{level}": state for level, state in enumerate(states)}
        found[f"out{number}"] = torch.cat(network.decode(image, states), 1)
    for number, layers in enumerate(network(image)):
        assert torch.equal(torch.cat(layers, 1), found[f"out{number}"])
    return found


def check_network_old(file: GoldenFile) -> None:
    for name, dtype in (("f64", torch.float64), ("f32", torch.float32)):
        if not file.matching(rf"{name}\..*"):
            continue
        image = file.take("x").to(dtype)
        network = filled_old(file, tiny_config(file, order="reflection_first"), dtype)
        if f"{name}.six" in file:
            file.compare(f"{name}.six", network.classifier(image), atol=1e-10)
        bare = RDNet(tiny_config(file, order="reflection_first", prompt="none")).to(dtype).eval()
        bare.load_state_dict({key: network.state_dict()[key] for key in bare.state_dict()})
        for prefix, made in ((name, network), (f"{name}.no_prompt", bare)):
            if not file.matching(rf"{prefix}\.[TR]\d"):
                continue
            for number, layers in enumerate(made(image)):
                for layer, found in zip("TR", layers, strict=True):
                    if (key := f"{prefix}.{layer}{number}") in file:
                        single = dtype is torch.float32
                        exact = file.take(key).dtype is torch.float64
                        file.compare(key, found, atol=2e-3 if single else 1e-10 if exact else 2e-6)


# --- documents beside the tensors ---


def check_manifest(file: GoldenFile) -> None:
    """Every file that is there is described, and nothing described differs from what is there."""
    about = manifest(file.path.parent)
    present = {path.stem: path for path in file.path.parent.glob("*.safetensors")}
    assert present.keys() <= about.keys()
    for name, path in present.items():
        other = GoldenFile(path)
        for key in other.keys:
            assert list(other.take(key).shape) == about[name]["shapes"][key], (name, key)


def check_recipe(file: GoldenFile) -> None:
    maker = recipe(file.path.parent)
    weight = maker.recipe_tensor("subnet0.level0.blocks.0.conv1.weight", (4, 3, 1, 1), 1)
    assert weight.shape == (4, 3, 1, 1)
    assert weight.dtype is torch.float32


def check_recipe_checks(file: GoldenFile) -> None:
    maker = recipe(file.path.parent)
    for name, about in json.loads(file.path.read_text()).items():
        family = "vgg" if name == "vgg" else "rdnet"
        for key, wanted in about["keys"].items():
            tensor = maker.recipe_tensor(key, wanted["shape"], about["seed"], family)
            assert tensor.flatten()[0].item() == wanted["first"], (name, key)
            assert abs(tensor.double().sum().item() - wanted["sum"]) <= 1e-6 * max(1, abs(wanted["sum"]))


CHECKS = {
    "blocks": check_blocks,
    "column": check_column,
    "backbone_small": check_backbone_small,
    "backbone_full": check_backbone_full,
    "classifier_full": check_classifier_full,
    r"network_small_\w": check_network_small,
    r"network_full_\w": check_network_full,
    "network_old": check_network_old,
    "network_ntire": check_network_ntire,
    "losses": check_losses,
    "train_step": check_train_step,
    "synthesis": check_synthesis,
    "augment": check_augment,
    "protocol": check_protocol,
    "checkpoint_layout": check_checkpoint_layout,
    "manifest": check_manifest,
    "recipe": check_recipe,
    "recipe_checks": check_recipe_checks,
}

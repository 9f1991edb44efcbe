"""Golden checks of DMDNet's metrics, data, losses and training; `test_dmdnet.py` runs them."""

import json
import random
from dataclasses import astuple

import numpy as np
import pytest
import torch
from dmdnet_recipe import depth_features, fill, small_network
from fixtures import GoldenFile, manifest, recipe, section
from PIL import Image

from dereflect.data.augment import JointGeometry
from dereflect.data.choice import choose_source
from dereflect.data.synthesis import dsrnet
from dereflect.evaluation import protocol
from dereflect.methods.dmdnet.config import DMDNetConfig
from dereflect.methods.dmdnet.depth import UNUSED_SHAPES, DepthNetwork
from dereflect.methods.dmdnet.losses import balance_loss, banks_of_layer
from dereflect.methods.dmdnet.network import DMDNet
from dereflect.methods.dmdnet.objective import PERCEPTUAL_WEIGHTS, Weights, weighted_losses
from dereflect.nn.losses import imagenet_normalised, perceptual_loss, perceptual_terms
from dereflect.nn.vgg import LEVEL_LAYERS, Vgg19
from dmdnet_online import measure_online


def check_metrics(file: GoldenFile) -> None:
    names = ("psnr", "ssim", "psnr_y", "ssim_y")
    for case in file.groups():
        truth = file.take(f"{case}.gt_rgb").numpy()
        for kind, estimate, measure in (
            ("eval", "pred_rgb", protocol.PROTOCOLS["dmdnet"].measure),
            ("online", "pred_float_rgb", measure_online),
        ):
            found = measure(file.take(f"{case}.{estimate}").numpy(), truth)
            values = torch.tensor([found[name] for name in names], dtype=torch.float64)
            file.compare(f"{case}.{kind}_psnr_ssim_psnry_ssimy", values, atol=1e-6)


def check_synthesis(file: GoldenFile) -> None:
    cases = section(file)["cases"]
    for case, about in cases.items():
        if case.startswith("aug"):
            check_augmentation(file, case, about)
        elif case == "fusion":
            random_source = random.Random(about["python_random_seed"])
            choices = file.take("fusion.choices")
            assert choices.tolist() == [
                list(choose_source(i, about["lengths"], about["ratios"], random_source))
                for i in range(len(choices))
            ]
            assert sum(about["lengths"]) == about["len"]
        else:
            draws = dsrnet.draw(np.random.RandomState(about["numpy_seed"]))
            file.compare(f"{case}.draws", torch.tensor(astuple(draws)[:4], dtype=torch.float64), atol=1e-12)
            t, r = (file.take(f"{case}.{name}").numpy() / 255 for name in ("t_u8", "r_u8"))
            for name, picture in zip("ITR", astuple(dsrnet.mix(t, r, draws)), strict=True):
                file.compare(f"{case}.{name}", torch.from_numpy(picture), atol=1e-6)


def check_augmentation(file, case, about) -> None:
    """The published augmentation, its rotation without expansion included: an option here."""
    side = about["patch"][0]
    geometry = JointGeometry(crop=side, scale=(side, 2 * side), rotate=0.5)
    draws = random.Random(about["python_random_seed"])
    pictures = [Image.fromarray(file.take(f"{case}.{name}").numpy()) for name in "tmr"]
    for name, picture in zip("tmr", geometry.apply(pictures, draws), strict=True):
        difference = torch.from_numpy(np.array(picture)).int() - file.take(f"{case}.{name}_out").int()
        assert difference.abs().max() <= 1, case  # another Pillow may round bicubic values otherwise
    assert draws.random() == about["next_random_after"]


def check_losses(file: GoldenFile) -> None:
    about = section(file)
    for match in file.matching(r"(cv\d+)\.in"):
        file.compare(f"{match[1]}.out", balance_loss(list(file.take(match[0]))), rtol=1e-5)
    assert list(LEVEL_LAYERS) == [
        end - 1 for end in about["indices"]
    ]  # the file counts layers, not positions
    vgg = fill(Vgg19(), file, about["seed"], family="vgg")
    x, y = file.take("vgg.x").requires_grad_(), file.take("vgg.y")
    file.compare("vgg.normalized_x", imagenet_normalised(x), atol=1e-6)
    with torch.enable_grad():
        loss = perceptual_loss(vgg, x, y, tuple(about["weights"]))
        (gradient,) = torch.autograd.grad(loss, x)
    file.compare("vgg.loss", loss, rtol=1e-5)
    file.compare_norm("vgg.grad_x", gradient, limit=1e-4)
    file.compare("vgg.feature_l1", torch.stack(perceptual_terms(vgg, x, y)), rtol=1e-5)
    levels = vgg(imagenet_normalised(x))
    file.compare("vgg.feature_means", torch.stack([level.mean() for level in levels]), rtol=1e-5)
    file.compare("vgg.relu5_1", levels[-1], atol=1e-5 * levels[-1].max().item(), rtol=1e-5)
    assert pytest.approx(about["weights"]) == PERCEPTUAL_WEIGHTS


def check_train_small(file: GoldenFile) -> None:
    about = section(file)
    network = small_network(file, torch.float64)
    weights = Weights(perceptual=0.0)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    for step in sorted({int(match[1]) for match in file.matching(r"(\d+)\.image")}):
        image = file.take(f"{step}.image").double()
        targets = [file.take(f"{step}.target_{layer}").double() for layer in "TR"]
        depth = depth_features(file, torch.float64, f"{step}.depth.")
        with torch.enable_grad():
            done = network(image, depth, train=True)
            total, parts = weighted_losses(done, targets[0], targets[1], weights)
        atol = 1e-8 if step == 0 else 1e-6
        names = {"l1": "pixel", "cv_T": "balance_T", "cv_R": "balance_R"}
        named = parts | {"total": total, "l1": parts["pixel_T"] + parts["pixel_R"]}
        values = [named[names.get(name, name) if name != "l1" else "l1"] for name in about["losses_order"]]
        file.compare(f"{step}.losses", torch.stack(values), atol=atol)
        file.compare(f"{step}.T", done.transmission, atol=atol)
        file.compare(f"{step}.R", done.reflection, atol=atol)
        gates = {trace.bank: trace.gate for trace in done.traces}
        for layer in "TR":
            rows = [gates[name] for group in banks_of_layer(layer) for name in group]
            file.compare(f"{step}.gates_{layer}", torch.cat(rows), atol=atol)
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        if step == 0:
            check_gradients(file, network, about)
        optimizer.step()
        network.remember(done.traces)
        if step == 0:
            for match in file.matching(r"mem1\.(memory_.*)"):
                file.compare(match[0], network.get_buffer(match[1]), atol=1e-6)


def check_gradients(file, network, about) -> None:
    parameters = dict(network.named_parameters())
    without = [name for name, parameter in parameters.items() if parameter.grad is None]
    assert sorted(without) == sorted(about["params_without_grad"])
    for name, norm in about["grad_norms"].items():
        assert parameters[name].grad.norm().item() == pytest.approx(norm, rel=1e-6), name
    for match in file.matching(r"grad\.(.*)"):
        file.compare_norm(match[0], parameters[match[1]].grad, limit=1e-6)


def check_recipe_checks(file: GoldenFile) -> None:
    folder = file.path.parent
    maker, checks = recipe(folder), json.loads(file.path.read_text())
    for name, check in checks.items():
        family = "depth" if name == "depth" else "dmdnet"
        with torch.device("meta"):
            network = DepthNetwork() if name == "depth" else DMDNet(DMDNetConfig(dims=tuple(check["dims"])))
        shapes = {key: tuple(v.shape) for key, v in network.state_dict().items() if "memory_" not in key[:7]}
        total = square = 0.0
        for key, shape in (shapes | (UNUSED_SHAPES if name == "depth" else {})).items():
            tensor = maker.recipe_tensor(key, shape, check["seed"], family).double()
            total, square = total + tensor.sum().item(), square + tensor.square().sum().item()
            if key in check["keys"]:
                assert list(tensor.shape) == check["keys"][key]["shape"]
                assert tensor.flatten()[0].item() == check["keys"][key]["first"]
        assert total == pytest.approx(check["total_sum"], rel=1e-9)
        assert square == pytest.approx(check["total_sumsq"], rel=1e-9)
        if name == "depth":
            continue
        banks = maker.recipe_memory(check["dims"], check["seed"])
        for key, about in check["memory"].items():
            assert banks[key].double().sum().item() == pytest.approx(about["sum"], rel=1e-9)


def check_manifest(file: GoldenFile) -> None:
    stems = {path.stem for path in file.path.parent.glob("*.safetensors")}
    assert stems <= set(manifest(file.path.parent))


def check_recipe(file: GoldenFile) -> None:
    assert np.isfinite(recipe(file.path.parent).recipe_tensor("a.weight", (3, 3), 1).numpy()).all()

"""Golden checks of losses, training, synthesis, geometry and protocol; `test_dsrnet_dsit.py` runs them."""

import random
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
import torch
from dsrnet_dsit_recipe import dsit_config, dsrnet_config, fill, vgg_of
from fixtures import GoldenFile, section
from PIL import Image
from torch import Tensor, nn

from dereflect.data.augment import JointGeometry
from dereflect.data.choice import choose_source
from dereflect.data.halves import ShuffledHalves
from dereflect.data.synthesis import dsrnet, xreflection
from dereflect.evaluation.protocol import PROTOCOLS, to_levels
from dereflect.evaluation.resizing import resized
from dereflect.methods.dsit.network import DSIT
from dereflect.methods.dsrnet.network import DSRNet
from dereflect.methods.residual_criteria import PUBLISHED
from dereflect.nn import losses
from dereflect.nn.vgg import LAST_CONVOLUTIONS, LEVEL_LAYERS

TERMS = {
    "pixel_T": "pixel_transmission",
    "pixel_R": "pixel_reflection",
    "perceptual": "perceptual",
    "perceptual_convs": "perceptual",
    "exclusion": "exclusion",
    "recons": "reconstruction",
}
"""The fixtures' names of the terms, and ours."""


def total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def check_losses(file: GoldenFile) -> None:
    vggs = {taps: vgg_of(file, taps) for taps in (LEVEL_LAYERS, LAST_CONVOLUTIONS)}
    for dtype, rtol, limit in ((torch.float64, 1e-7, 1e-5), (torch.float32, 1e-5, 5e-3)):
        tensors = {key: file.take(key).to(dtype) for key in file.keys if "." not in key}
        true = {
            "transmission": tensors["target_T"],
            "reflection": tensors["target_R"],
            "blended": tensors["I"],
        }
        made = {name: tensors[name].requires_grad_() for name in ("pred_T", "pred_R", "pred_rr")}
        with torch.enable_grad():
            values: dict[str, Tensor] = {
                "gradient": losses.gradient_loss(made["pred_T"], tensors["target_T"])
            }
            for variant, total_name in (("dsit", "total_dsit"), ("dsrnet_xreflection", "total_dsrnet_x")):
                criteria = PUBLISHED[variant]
                terms = criteria.terms(tuple(made.values()), true, vggs[criteria.vgg_taps].to(dtype))
                perceptual = "perceptual" if variant == "dsit" else "perceptual_convs"
                values |= {
                    theirs: terms[ours] for theirs, ours in TERMS.items() if "perceptual" not in theirs
                }
                values |= {perceptual: terms["perceptual"], total_name: total(terms)}
            for match in file.matching(r"(\w+)\.value"):
                file.compare(match[0], values[match[1]][None], rtol=rtol)
            for match in file.matching(r"(\w+)\.d_(\w+)"):
                gradient = torch.autograd.grad(values[match[1]], made[match[2]], retain_graph=True)[0]
                file.compare_norm(match[0], gradient, limit)


def check_train_dsit(file: GoldenFile) -> None:
    network = DSIT(dsit_config(section(file)["metadata"]["config"]))
    check_training(file, network, lambda image: network(image), "dsit")


def check_train_dsrnet(file: GoldenFile) -> None:
    network = DSRNet(dsrnet_config(section(file)["metadata"]["config"]))
    features = vgg_of(file).double()
    check_training(file, network, lambda image: network(image, features(image)), "dsrnet_xreflection")


def check_training(file: GoldenFile, network: nn.Module, separate, variant: str) -> None:
    """Steps of Adam in float64 on one batch."""
    about, criteria = section(file), PUBLISHED[variant]
    fill(network, file, about["metadata"]["seed"]).double().train()
    vgg = vgg_of(file, criteria.vgg_taps).double()
    names = {"I": "blended", "target_T": "transmission", "target_R": "reflection"}
    true = {ours: file.take(theirs).double() for theirs, ours in names.items()}
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=1e-4, betas=(0.9, 0.999))
    rows = []
    for step in range(len(file.take("loss"))):
        with torch.enable_grad():
            separated = separate(true["blended"])
            terms = criteria.terms(separated, true, vgg)
            optimizer.zero_grad(set_to_none=True)
            total(terms).backward()
        named = terms | {"total": total(terms)}
        rows.append([named[TERMS.get(name, name)].item() for name in about["columns_of_loss"]])
        if step == 0:
            for name, value in zip(("T", "R", "rr"), separated, strict=True):
                file.compare(f"step0.{name}", value, atol=1e-6)
            check_gradients(file, network, about["gradient_norms_step0"])
        optimizer.step()
        if step == 0:
            for match in file.matching(r"after\.(.+)"):
                file.compare(match[0], network.get_parameter(match[1]).flatten()[:64], atol=1e-8)
    file.compare("loss", torch.tensor(rows, dtype=torch.float64), rtol=1e-6)


def check_gradients(file: GoldenFile, network: nn.Module, norms: dict[str, float | None]) -> None:
    parameters = dict(network.named_parameters())
    largest = max(norm for norm in norms.values() if norm is not None)
    for name, norm in norms.items():
        gradient = parameters[name].grad
        if norm is None:
            assert gradient is None or not gradient.any(), name
        else:
            assert gradient.norm().item() == pytest.approx(norm, abs=1e-6 * largest), name
    assert set(norms) == set(parameters)
    for match in file.matching(r"grad\.(.+)"):
        gradient = parameters[match[1]].grad.flatten()[:64]
        file.compare(match[0], gradient, atol=1e-6 * file.take(match[0]).abs().max().item() + 1e-300)


def check_synthesis(file: GoldenFile) -> None:
    about = section(file)["cases"]
    for rule, number in sorted({(match[1], match[2]) for match in file.matching(r"(\w+)\.(\d+)\.T")}):
        case = f"{rule}.{number}"
        told = about[case]
        clear, mirrored = (file.take(f"{case}.{name}").numpy().astype(np.float32) / 255 for name in "TR")
        recorded = file.take(f"{case}.draws").tolist()
        if rule == "cpp":
            kernel, sigma, weight, *gains, u = recorded
            draws = xreflection.Draws(int(kernel), sigma, weight, tuple(gains), u < xreflection.SCREEN_SHARE)
            made, atol = xreflection.mix(clear, mirrored, draws), 2e-6
        else:
            made, atol = dsrnet.mix(clear, mirrored, check_draws(rule, told, recorded)), 1e-6
        outputs = {"out_I": made.blended, "out_T": made.transmission, "out_R": made.reflection}
        if rule.startswith("x_"):
            outputs["target_r"] = made.blended - made.transmission
        for name, picture in outputs.items():
            file.compare(f"{case}.{name}", torch.from_numpy(picture), atol=atol)


def check_draws(rule: str, told: dict, recorded: list[float]) -> dsrnet.Draws:
    """Draws made from the recorded seeds, which must be those of the file."""
    share = 0.7 if "dsrnet" in rule else 1.0
    assert len(recorded) == (5 if "dsrnet" in rule else 4)
    ranges = dsrnet.Ranges(screen_share=share)
    source, coin = np.random.RandomState(told["numpy_seed"]), random.Random(told["python_seed"])
    draws = dsrnet.draw(source, ranges=ranges, coin=coin)
    assert list(astuple(draws))[:4] == pytest.approx(recorded[:4], abs=1e-12)
    assert draws.screen == (told["mode"] == "screen") == (share == 1 or recorded[4] < share)
    return draws


class Recorder:
    """Python's generator, every draw of which is noted."""

    def __init__(self, seed: int) -> None:
        self.source, self.seen = random.Random(seed), []

    def __getattr__(self, name: str):
        def draw(*arguments):
            value = getattr(self.source, name)(*arguments)
            self.seen.append([name, value])
            return value

        return draw


def check_augment(file: GoldenFile) -> None:
    about = section(file)
    for case in sorted({f"{match[1]}.{match[2]}" for match in file.matching(r"(\w+)\.(\d+)\.in0")}):
        told, side = about["cases"][case], file.take(f"{case}.out0").shape[0]
        largest = side + 256 if case.startswith("x_dsit") else 2 * side
        draws = Recorder(told["python_seed"])
        pictures = [Image.fromarray(file.take(f"{case}.in{i}").numpy()) for i in (0, 1)]
        cut = JointGeometry(crop=side, scale=(side, largest), rotate=0.5).apply(pictures, draws)
        file.compare(f"{case}.draws", torch.tensor([value for _, value in draws.seen], dtype=torch.float64))
        assert draws.seen == told["draws"], case
        assert draws.random() == told["next_random_after"], case
        for i, picture in enumerate(cut):
            compare_bytes(file, f"{case}.out{i}", np.asarray(picture))
    check_mixing(about["mixing"])
    check_pairing(about["pairing"])


def compare_bytes(file: GoldenFile, key: str, picture: np.ndarray, levels: int = 1) -> None:
    """Another Pillow may round bicubic values otherwise."""
    file.compare(key, torch.from_numpy(picture.astype(np.float32)), atol=levels)


def check_protocol(file: GoldenFile) -> None:
    about, protocol = section(file)["cases"], PROTOCOLS["dsrnet"]
    for case in sorted({f"{match[1]}.{match[2]}" for match in file.matching(r"(align|metric)\.(\d+)\..*")}):
        if case.startswith("align"):
            picture = file.take(f"{case}.in").numpy()
            assert list(picture.shape[:2]) == about[case]
            size = protocol.aligned_size(picture.shape[1], picture.shape[0])
            compare_bytes(file, f"{case}.out", resized(picture, size))
            continue
        estimate, target, residual = (
            file.take(f"{case}.{name}")[0].permute(1, 2, 0).numpy() for name in ("estimate", "target", "rr")
        )
        found = protocol.measure(estimate, target)
        for told in about[case].values():
            assert {name: found[name.lower()] for name in told} == pytest.approx(told, abs=1e-5)
        saved = {
            "saved_original": to_levels(estimate, "truncated"),
            "saved_xreflection": to_levels(estimate, "rounded"),
            "rr_saved": to_levels((residual + 1) / 2, "truncated"),
        }
        for name, picture in saved.items():
            compare_bytes(file, f"{case}.{name}", picture, levels=0)


def check_mixing(cases: dict) -> None:
    for told in cases.values():
        draws = random.Random(told["python_seed"])
        found = [
            list(choose_source(index, told["sizes"], told["ratios"], draws))
            for index in range(len(told["choices"]))
        ]
        assert found == told["choices"]
        assert draws.random() == told["next_random_after"]


def check_pairing(told: dict) -> None:
    """The whole list is shuffled, then halved; in the first epoch it is in the order of the names."""

    def halves(epoch: int) -> list[list[str]]:
        pairs = [photos.pair(epoch, index) for index in range(len(photos))]
        return [[pair[side].name for pair in pairs] for side in (0, 1)]

    photos = ShuffledHalves([Path(name) for name in told["names"]], seed=0)
    assert halves(0) == told["before"]
    with pytest.MonkeyPatch.context() as patch:  # the original shuffles by one running generator
        seeded = random.Random(told["python_seed"])
        patch.setattr("dereflect.data.halves.random.Random", lambda seed: seeded)
        assert halves(1) == told["after_one_reset"]

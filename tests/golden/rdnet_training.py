"""The checks of RDNet's training and evaluation: losses, a step, synthesis, augmentation, protocol."""

import random
from collections.abc import Sequence

import numpy as np
import torch
from fixtures import GoldenFile, section
from PIL import Image
from rdnet_recipe import fill, filled, tiny_config
from torch import Tensor, nn

from dereflect.data.augment import JointGeometry, align_size
from dereflect.data.choice import choose_source
from dereflect.data.synthesis import rdnet as rule
from dereflect.data.synthesis.kernels import gaussian_taps
from dereflect.errors import InputError
from dereflect.evaluation.protocol import PROTOCOLS, to_levels
from dereflect.methods.rdnet.criteria import NAMED, Criteria
from dereflect.methods.rdnet.network import TwoLayers
from dereflect.methods.rdnet.optimiser import parameter_groups
from dereflect.nn.losses import imagenet_normalised, perceptual_terms
from dereflect.nn.vgg import Vgg19

# --- losses and one step of training ---

ROWS = ("transmission", "reflection", "perceptual", "gradient")


def vgg_for(file: GoldenFile, criteria: Criteria) -> Vgg19:
    return fill(Vgg19(criteria.vgg_taps), file, seed=section(file)["vgg_seed"], family="vgg")


def outputs_of(file: GoldenFile, dtype: torch.dtype) -> list[Tensor]:
    count = len(file.matching(r"out\d+"))
    return [file.take(f"out{number}").to(dtype) for number in range(count)]


def check_losses(file: GoldenFile) -> None:
    criteria = NAMED["toolbox"]
    for name, dtype, tolerance in (("f32", torch.float32, 1e-5), ("f64", torch.float64, 1e-10)):
        if not file.matching(rf"{name}\..*"):
            continue
        vgg = vgg_for(file, criteria).to(dtype)
        targets = file.take("target_t").to(dtype), file.take("target_r").to(dtype)
        assert torch.allclose(targets[0] + targets[1], file.take("input").to(dtype), atol=1e-6)
        outputs = [out.requires_grad_() for out in outputs_of(file, dtype)]
        with torch.enable_grad():
            layers = [out.chunk(2, 1) for out in outputs]
            terms = [criteria.terms(pair, targets, vgg) for pair in layers]
            table = torch.stack([torch.stack([column[row] for column in terms]) for row in ROWS])
            sums = criteria.sums(layers, targets, vgg)
            total = torch.stack(list(sums.values())).sum()
            total.backward()
        file.compare(f"{name}.terms", table, atol=tolerance)
        file.compare(f"{name}.weighted", torch.stack([*(sums[row] for row in ROWS), total]), atol=tolerance)
        for match in file.matching(rf"{name}\.grad\.out(\d+)"):
            file.compare(match[0], outputs[int(match[1])].grad, atol=tolerance)
        if f"{name}.layer_l1" in file:
            distances = perceptual_terms(vgg, layers[-1][0], targets[0])
            file.compare(f"{name}.layer_l1", torch.stack(distances), atol=tolerance)
        if name == "f64":
            check_feature_deviations(file, vgg, targets[0])
    if "old.terms" in file:
        check_older_losses(file)


def check_feature_deviations(file: GoldenFile, vgg: Vgg19, image: Tensor) -> None:
    wanted = section(file)["vgg_feature_std"]
    for level, deviation in zip(vgg(imagenet_normalised(image)), wanted.values(), strict=True):
        assert abs(level.std().item() - deviation) < 0.02 * deviation


def check_older_losses(file: GoldenFile) -> None:
    criteria = NAMED["older"]
    vgg = vgg_for(file, criteria).double()
    targets = file.take("target_t").double(), file.take("target_r").double()
    outputs = [out.requires_grad_() for out in outputs_of(file, torch.float64)]
    with torch.enable_grad():
        layers = [out.chunk(2, 1)[::-1] for out in outputs]  # the reflection comes first
        terms = [criteria.terms(pair, targets, vgg) for pair in layers]
        rows = [
            [column["transmission"] + column["gradient"] for column in terms],
            [column["reflection"] + column["reflection_gradient"] for column in terms],
            [column["perceptual"] for column in terms],
        ]
        total = torch.stack(list(criteria.sums(layers, targets, vgg).values())).sum()
        total.backward()
    file.compare("old.terms", torch.stack([torch.stack(row) for row in rows]), atol=1e-6)
    file.compare("old.total", total, atol=1e-6)
    for match in file.matching(r"old\.grad\.out(\d+)"):
        file.compare(match[0], outputs[int(match[1])].grad, atol=1e-6)


class Given(nn.Module):
    """Takes the place of stochastic depth: multiplies each branch by the numbers recorded for it."""

    def __init__(self, multipliers: Tensor) -> None:
        super().__init__()
        self.multipliers, self.calls = multipliers, 0

    def forward(self, branch: Tensor) -> Tensor:
        chosen = self.multipliers[self.calls % len(self.multipliers)]
        self.calls += 1
        return branch * chosen.view(-1, 1, 1, 1).to(branch)


def check_train_step(file: GoldenFile) -> None:
    for save_memory in (False, True):
        check_one_way(file, save_memory)


def check_one_way(file: GoldenFile, save_memory: bool) -> None:
    about, criteria = section(file), NAMED["toolbox"]
    network = filled(file, tiny_config(file), torch.float64).train()
    blocks = [block for stage in network.baseball.layers for block in stage.blocks]
    assert np.allclose([block.drop.rate for block in blocks], about["drop_rates"], atol=1e-6)
    for block, multipliers in zip(blocks, file.take("drop_multipliers"), strict=True):
        block.drop = Given(multipliers)
    vgg = vgg_for(file, criteria).double()
    image = file.take("input").double()
    targets = file.take("target_t").double(), file.take("target_r").double()
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimizer = torch.optim.AdamW(
        parameter_groups(network, 1e-4, 2e-4), betas=(0.9, 0.999), eps=1e-8, weight_decay=0
    )

    def step() -> tuple[list[TwoLayers], Tensor]:
        outputs = network(image, save_memory=save_memory)
        sums = criteria.sums(outputs, targets, vgg)
        total = torch.stack(list(sums.values())).sum()
        return outputs, torch.stack([*(sums[row] for row in ROWS), total])

    with torch.enable_grad():
        outputs, losses = step()
        losses[-1].backward()
    for number, layers in enumerate(outputs):
        file.compare(f"out{number}", torch.cat(layers, 1), atol=1e-10)
    file.compare("losses", losses, atol=1e-10)
    gradients = {name: p.grad for name, p in network.named_parameters()}
    check_gradients(file, gradients, tolerance=1e-8 if save_memory else 1e-9)
    optimizer.step()
    after = dict(network.named_parameters())
    for match in file.matching(r"delta\.(.+)"):
        change = after[match[1]].detach() - before[match[1]]
        file.compare(match[0], change, atol=1e-10 if save_memory else 1e-12)
    file.compare("losses_after", step()[1], atol=1e-8 if save_memory else 1e-10)


def check_gradients(file: GoldenFile, gradients: dict[str, Tensor | None], tolerance: float) -> None:
    about = section(file)
    for match in file.matching(r"grad\.(.+)"):
        largest = file.take(match[0]).abs().max().item()
        file.compare(match[0], gradients[match[1]], atol=tolerance * max(largest, 1e-3))
    for name, wanted in about["grad_norms"].items():
        assert abs(gradients[name].norm().item() - wanted) <= 10 * tolerance * max(wanted, 1e-3), name
    frozen = [name for name in gradients if name.startswith("classifier.")]
    assert all(gradients[name] is None for name in frozen)
    assert len(frozen) == about["classifier_params_without_grad"]
    without = [name for name, g in gradients.items() if g is None and not name.startswith("classifier.")]
    assert without == about["params_without_grad"]


# --- data ---


def check_synthesis(file: GoldenFile) -> None:
    about = section(file)
    for case in [group for group in file.groups() if group != "fusion"]:
        T, R = (file.take(f"{case}.{name}").numpy() / 255 for name in "TR")
        stored = file.take(f"{case}.draws").tolist()
        screen = stored[6] < rule.Ranges().screen_share
        draws = rule.Draws(int(stored[0]), stored[1], stored[2], tuple(stored[3:6]), screen)
        seed = about[case]["numpy_seed"]
        coin = random.Random(about[case].get("python_seed", seed))
        drawn = rule.draw(np.random.RandomState(seed), coin=coin)
        assert (drawn.kernel, drawn.screen) == (draws.kernel, draws.screen)
        found = (drawn.sigma, drawn.reflection_weight, *drawn.gains)
        assert np.allclose(found, stored[1:6], rtol=0, atol=1e-9), (case, found, stored)
        taps = gaussian_taps(draws.kernel, draws.sigma)
        file.compare(f"{case}.kernel1d", torch.from_numpy(taps), atol=1e-12)
        file.compare(f"{case}.blurred_R", torch.from_numpy(rule.blurred(R, draws)), atol=1e-6)
        triplet = rule.mix(T, R, draws)
        file.compare(f"{case}.input", torch.from_numpy(triplet.blended), atol=1e-6)
        file.compare(f"{case}.target_t", torch.from_numpy(triplet.transmission), atol=1e-6)
        file.compare(f"{case}.target_r", torch.from_numpy(triplet.reflection), atol=1e-6)
        assert (about[case]["branch"] == "screen") == screen
    if "fusion.index" in file:
        check_fusion(file)


def check_fusion(file: GoldenFile) -> None:
    about = section(file)["fusion"]
    draws = random.Random(about["python_seed"])
    found = [
        choose_source(index, about["sizes"], about["ratios"], draws)
        for index in file.take("fusion.index").tolist()
    ]
    file.compare("fusion.choice", torch.tensor(found))


def pictures(file: GoldenFile, keys: Sequence[str]) -> list[Image.Image]:
    return [Image.fromarray(file.take(key).numpy()) for key in keys]


def check_augment(file: GoldenFile) -> None:
    about = section(file)
    side = about["transform_size"]
    geometry = JointGeometry(side, (side, side + 256), flip=0.5, rotate=0.5)
    for case in file.groups():
        draws = random.Random(about[case]["python_seed"])
        for key, picture in zip(
            (f"{case}.t_out", f"{case}.m_out"),
            geometry.apply(pictures(file, (f"{case}.t", f"{case}.m")), draws),
            strict=True,
        ):
            file.compare(key, torch.from_numpy(np.array(picture)), atol=1)
        file.compare(f"{case}.next_random", torch.tensor(draws.random(), dtype=torch.float64))


# --- evaluation ---


def check_protocol(file: GoldenFile) -> None:
    protocol = PROTOCOLS["rdnet"]
    for case in [group for group in file.groups() if group.startswith("p")]:
        clear, blended = pictures(file, (f"{case}.t", f"{case}.m"))
        size = protocol.aligned_size(*clear.size)
        for name, picture in (("t", clear), ("m", blended)):
            aligned = align_size(picture, clear.size, protocol.multiple)
            assert aligned.size == size
            file.compare(f"{case}.{name}_aligned", torch.from_numpy(np.array(aligned)), atol=1)
    for height, width, *wanted in file.take("sizes").tolist() if "sizes" in file else []:
        old = PROTOCOLS["rdnet-photo"].aligned_size(width, height)[::-1]
        try:
            plain = protocol.aligned_size(width, height)[::-1]
        except InputError:
            plain = (0, 0)
        assert [*old, *plain] == wanted, (height, width)
    for case in [group for group in file.groups() if group.startswith("m")]:
        estimate, target = (
            file.take(f"{case}.{name}")[0].permute(1, 2, 0).numpy() for name in ("estimate", "target")
        )
        found = protocol.measure(estimate, target)
        file.compare(f"{case}.psnr", torch.tensor(found["psnr"], dtype=torch.float64), atol=1e-6)
        file.compare(f"{case}.ssim", torch.tensor(found["ssim"], dtype=torch.float64), atol=1e-6)
        four = [found[name] for name in ("psnr", "ssim", "lmse", "ncc")]
        file.compare(f"{case}.old", torch.tensor(four, dtype=torch.float64), atol=1e-6)
        for key, rounding in (("png_xreflection", "rounded"), ("png_old", "truncated")):
            file.compare(f"{case}.{key}", torch.from_numpy(to_levels(estimate, rounding)))

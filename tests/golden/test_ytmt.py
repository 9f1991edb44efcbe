"""Numbers of the reference implementation of YTMT, checked entry by entry."""

import math
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
import pytest
import torch
from fixtures import GoldenFile, parametrize_over_files, run_check
from PIL import Image
from torch import Tensor, nn

from dereflect.data.augment import align_size, scale_side, scaled_size
from dereflect.data.synthesis import ceilnet, zhang
from dereflect.data.synthesis.kernels import gaussian_taps
from dereflect.evaluation import metrics
from dereflect.methods.ytmt.config import NAMED, YtmtConfig
from dereflect.methods.ytmt.criteria import Criteria
from dereflect.methods.ytmt.fast.system import FastSystem
from dereflect.methods.ytmt.two_stage import YtmtSystem, build_network
from dereflect.nn import losses
from dereflect.nn.discriminator import PatchDiscriminator, VggDiscriminator
from dereflect.nn.exchange import ExchangeHead
from dereflect.nn.vgg import Vgg19

OUTPUT = 1e-4
"""Largest difference allowed in outputs of networks, as the fixtures ask: processors round differently."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize_over_files(metafunc, "ytmt")


def test_golden_file(golden_file):
    run_check(golden_file, CHECKS)


# --- weights that the fixtures were made with: every tensor from its key and a seed ---


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


# --- checks, one for each kind of file ---


def check_recipe(file: GoldenFile) -> None:
    for key in file.keys:
        family, seed, name, shape = key.split("|")
        tensor = recipe_tensor(name, tuple(int(n) for n in shape.split("x")), int(seed), family)
        file.compare(key, tensor.flatten()[:32], atol=1e-6)


def check_blocks_new(file: GoldenFile) -> None:
    seed, hyper = file.metadata["seed"], channels(file)
    nets = {name: filled(named(name, **hyper), seed) for name in ("ytmt_ucs", "ytmt_uas", "ytmt_us_relu")}
    heads: dict[str, ExchangeHead] = {
        "additive": nets["ytmt_uas"].inc.ytmt_head,
        "concat": nets["ytmt_ucs"].inc.ytmt_head,
        "relu_only": nets["ytmt_us_relu"].inc.ytmt_head,
    }
    pair = file.take("head.in.l"), file.take("head.in.r")
    for match in file.matching(r"head\.(\w+)\.out\.l"):
        compare_pair(file, f"head.{match[1]}.out", heads[match[1]](*pair))

    attention, conv = nets["ytmt_ucs"].down1.model.conv_l, file.take("att.in")
    file.compare("att.pa.out", attention.model[0](conv), atol=OUTPUT)
    file.compare("att.ca.out", attention.model[1](conv), atol=OUTPUT)
    file.compare("att.conv.out", attention(conv), atol=OUTPUT)

    pair = file.take("down1.in.l"), file.take("down1.in.r")
    for match in file.matching(r"down1\.(\w+)\.out\.l"):
        compare_pair(file, f"down1.{match[1]}.out", nets[match[1]].down1(*pair))
    low, skip = ((file.take(f"up4.{part}.l"), file.take(f"up4.{part}.r")) for part in ("low", "skip"))
    for match in file.matching(r"up4\.(\w+)\.out\.l"):
        compare_pair(file, f"up4.{match[1]}.out", nets[match[1]].up4(low, skip))
    compare_pair(file, "outc.out", nets["ytmt_ucs"].outc(file.take("outc.in.l"), file.take("outc.in.r")))


def compare_pair(
    file: GoldenFile, key: str, pair: tuple[Tensor, Tensor], ends: Sequence[str] = "lr", atol: float = OUTPUT
) -> None:
    file.compare(f"{key}.{ends[0]}", pair[0], atol=atol)
    file.compare(f"{key}.{ends[1]}", pair[1], atol=atol)


def check_blocks_old(file: GoldenFile) -> None:
    net = filled(named("ytmt_ucs_old", **channels(file)), file.metadata["seed"])

    def both(prefix: str) -> tuple[Tensor, Tensor]:
        return file.take(f"{prefix}.own_pos"), file.take(f"{prefix}.other_neg")

    def compare_parts(key: str, parts: tuple[Tensor, Tensor]) -> None:
        file.compare(f"{key}.pos", parts[0], atol=OUTPUT)
        file.compare(f"{key}.neg", parts[1], atol=OUTPUT)

    compare_parts("inc_1.out", net.inc_1(file.take("inc_1.in")))
    compare_parts("down1_1.out", net.down1_1(*both("down1_1.in")))
    compare_parts("up4_1.out", net.up4_1(both("up4_1.low"), both("up4_1.skip")))
    file.compare("outc_1.out", net.outc_1(*both("outc_1.in")), atol=OUTPUT)


def check_network(file: GoldenFile) -> None:
    name, seed, hyper = file.metadata["network"], file.metadata["seed"], channels(file)
    net = filled(named(name, **hyper), seed)
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def remember(block: str) -> Callable:
        def hook(module: nn.Module, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
            seen[block] = output

        return hook

    for case in file.groups():
        if layers := re.fullmatch(r"gray(\d+)", case):
            config = named(name, hypercolumn=False, image_channels=1, layers=int(layers[1]), squash=False)
            T, R = filled(config, seed)(file.take(f"{case}.x"))
            file.compare(f"{case}.T", T, atol=OUTPUT)
            file.compare(f"{case}.R", R, atol=OUTPUT)
            continue
        middle = file.matching(rf"{case}\.mid\.(.+)\.(l|r|pos|neg)\.every(\d+)")
        hooks = [
            net.get_submodule(block).register_forward_hook(remember(block))
            for block in {m[1] for m in middle}
        ]
        with torch.no_grad():
            T, R = net(file.take(f"{case}.x"), file.take(f"{case}.y") if f"{case}.y" in file else None)
        for hook in hooks:
            hook.remove()
        file.compare(f"{case}.T", T, atol=OUTPUT)
        file.compare(f"{case}.R", R, atol=OUTPUT)
        for match in middle:
            part = seen[match[1]][match[2] in ("r", "neg")]
            file.compare(match[0], part[:1, :: int(match[3])], atol=OUTPUT)


def check_hypercolumn(file: GoldenFile) -> None:
    vgg, step = filled_vgg(file.metadata["vgg_seed"]), int(file.metadata["spatial_step"])
    system = YtmtSystem(NAMED["ucs"], vgg)
    for case in file.groups():
        image = file.take(f"{case}.x")
        levels = vgg(image)
        column = system.features(image)
        for k in range(1, 6):
            file.compare(f"{case}.relu{k}_1.shape", torch.tensor(levels[k - 1].shape))
        file.compare(f"{case}.relu5_1", levels[4], atol=OUTPUT)
        chosen = column[:, file.take(f"{case}.channels"), ::step, ::step]
        file.compare(f"{case}.values", chosen, atol=OUTPUT)
        flat = column.double().transpose(0, 1).flatten(1)
        file.compare(f"{case}.mean_f64", flat.mean(1), atol=OUTPUT)
        file.compare(f"{case}.std_f64", flat.std(1, correction=0), atol=OUTPUT)


def system_of(name: str, vgg: Vgg19, seeds: list[str]) -> YtmtSystem:
    system = YtmtSystem(named(name, stages=len(seeds)), vgg)
    for stage, seed in zip((system.stage1, system.stage2), seeds, strict=False):
        fill(stage, int(seed), "net")
    return system.eval()


def check_single_stage(file: GoldenFile) -> None:
    check_stages(file, [file.metadata["seed"]], [""])


def check_two_stages(file: GoldenFile) -> None:
    check_stages(file, [file.metadata["stage1_seed"], file.metadata["stage2_seed"]], ["1", "2"])


def check_stages(file: GoldenFile, seeds: list[str], suffixes: list[str]) -> None:
    vgg = filled_vgg(file.metadata["vgg_seed"])
    for name in sorted({m[1] for m in file.matching(r"\w+\.(ytmt_\w+)\.T\d?")}):
        system = system_of(name, vgg, seeds)
        for case in file.groups():
            with torch.inference_mode():
                plain = system.stages(file.take(f"{case}.image"))
                fast = FastSystem(system, torch.device("cpu"), torch.float32).stages(
                    file.take(f"{case}.image")
                )
            for way, tolerance in ((plain, OUTPUT), (fast, OUTPUT)):
                for suffix, pair in zip(suffixes, way, strict=True):
                    ends = ("T" + suffix, "R" + suffix)
                    compare_pair(file, f"{case}.{name}", pair, ends, tolerance)


def check_gan(file: GoldenFile) -> None:
    for match in file.matching(r"(n\d+)\.(sgan|rsgan|rasgan)\.(D|G)"):
        real, fake = file.take(f"{match[1]}.logit_real"), file.take(f"{match[1]}.logit_fake")
        loss = losses.discriminator_loss if match[3] == "D" else losses.generator_loss
        file.compare(match[0], loss(match[2], real, fake), rtol=1e-5, atol=1e-7)
    for match in file.matching(r"(disc_vgg|disc_patch)\.(\w+)\.logits"):
        network = VggDiscriminator() if match[1] == "disc_vgg" else PatchDiscriminator()
        fill(network, int(file.metadata["disc_seed"]), "disc")
        file.compare(match[0], network(file.take(f"{match[2]}.x")), atol=OUTPUT)


PERCEPTUAL_WEIGHTS = (1 / 2.6, 1 / 4.8, 1 / 3.7, 1 / 5.6, 10 / 1.5)


def check_losses(file: GoldenFile) -> None:
    vgg = filled_vgg(file.metadata["vgg_seed"])
    for case in file.groups():
        T, R = (file.take(f"{case}.pred_{layer}").requires_grad_() for layer in "TR")
        true_T, true_R, blended = (file.take(f"{case}.{name}") for name in ("target_T", "target_R", "I"))
        file.compare(f"{case}.perceptual.weights", torch.tensor(PERCEPTUAL_WEIGHTS), rtol=1e-6)
        file.compare(
            f"{case}.perceptual.layer_l1", torch.stack(losses.perceptual_terms(vgg, T, true_T)), rtol=1e-5
        )
        values = {
            "exclusion": losses.exclusion_loss(T, R),
            "exclusion_level1": losses.exclusion_loss(T, R, levels=1),
            "exclusion_R_zero": losses.exclusion_loss(T, torch.zeros_like(R)),
            "exclusion_T_zero": losses.exclusion_loss(torch.zeros_like(T), R),
            "gradient": losses.gradient_loss(T, true_T),
            "pixel_T": losses.pixel_loss(T, true_T, 0.3, 0.6),
            "pixel_R_unscaled": losses.pixel_loss(R, true_R, 0.3, 0.6),
            "recons_unscaled": losses.reconstruction_loss(T, R, blended),
            "perceptual": losses.perceptual_loss(vgg, T, true_T, PERCEPTUAL_WEIGHTS),
        }
        for name, value in values.items():
            file.compare(f"{case}.{name}", value, rtol=1e-5)
            for layer, tensor in (("dT", T), ("dR", R)):
                if (key := f"{case}.{name}.{layer}") in file:
                    (gradient,) = torch.autograd.grad(value, tensor, retain_graph=True)
                    file.compare_norm(key, gradient, 5e-3 if name == "perceptual" else 1e-3)


def check_metrics(file: GoldenFile) -> None:
    for case in file.groups():
        pair = [file.take(f"{case}.{name}")[0].permute(1, 2, 0) for name in ("estimate", "target")]
        estimate, target = (np.clip(picture.numpy(), 0, 1) * np.float32(255) for picture in pair)
        expected = {
            "PSNR": metrics.psnr_per_channel(estimate, target),
            "SSIM": metrics.ssim(estimate, target),
            "LMSE": metrics.lmse(estimate, target),
            "NCC": metrics.ncc(estimate, target),
        }
        for name, value in expected.items():
            file.compare(f"{case}.{name}_f64", torch.tensor(value, dtype=torch.float64), atol=1e-5)
        for name, measure in (("psnr", metrics.psnr), ("ssim", metrics.ssim)):
            values = torch.tensor(metrics.channelwise(measure, estimate, target), dtype=torch.float64)
            file.compare(f"{case}.{name}_per_channel_f64", values, atol=1e-5)
        file.compare(f"{case}.saved_uint8", torch.from_numpy(estimate.astype(np.uint8)))


def check_geometry(file: GoldenFile) -> None:
    rows = file.take("scale_short_side.ow_oh_target_w_h").tolist()
    assert rows
    for width, height, target, *expected in rows:
        assert list(scaled_size(width, height, target, by_height=width >= height)) == expected
    for match in file.matching(r"(align\.\d+)\.in"):
        picture = Image.fromarray(file.take(match[0]).numpy())
        file.compare(f"{match[1]}.out", pixels(align_size(picture, picture.size)))
    picture = Image.fromarray(file.take("bicubic.in").numpy())
    landscape = picture.width >= picture.height
    height, width, _ = file.take("bicubic.out").shape
    scaled = scale_side(picture, height if landscape else width, by_height=landscape)
    file.compare("bicubic.out", pixels(scaled))


def pixels(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(picture).copy())


def check_synthesis(file: GoldenFile) -> None:
    for case in sorted({f"{m[1]}.{m[2]}" for m in file.matching(r"(ceil|zhang)\.(\w+)\.B")}):
        T, R = (file.take(f"{case}.{name}").numpy().astype(np.float32) / np.float32(255) for name in "BR")
        if case.startswith("ceil"):
            sigma, gamma = file.take(f"{case}.sigma_gamma_f64").tolist()
            taps = file.take(f"{case}.kernel1d_f64")
            assert torch.equal(taps, taps.flip(0))
            size = taps.numel()
            file.compare(f"{case}.kernel1d_f64", torch.from_numpy(gaussian_taps(size, sigma)), atol=1e-6)
            made = ceilnet.mix(T, R, ceilnet.Draws(size, sigma, gamma))
        else:
            sigma, darkening, right, down, scale = file.take(f"{case}.draws_f64").tolist()
            made = zhang.mix(T, R, zhang.Draws(sigma, darkening, int(right), int(down), scale))
        for name, picture in (("M", made.blended), ("T", made.transmission), ("R", made.reflection)):
            file.compare(f"{case}.out_{name}", torch.from_numpy(picture), atol=1e-6)


CODE_STAGE_ONE = Criteria(
    transmission_mse=0.3,
    transmission_gradient=0.6,
    reflection_mse=0.45,
    reflection_gradient=0.9,
    reconstruction=0.2,
    perceptual_transmission=0.1,
    perceptual_reflection=0,
    perceptual_levels=PERCEPTUAL_WEIGHTS,
    exclusion=1,
    exclusion_form="code",
    exclusion_levels=3,
    adversarial=0.01,
    adversarial_kind="rasgan",
    adversarial_from_epoch=20,
    fakes=["transmission"],
)
CODE_STAGE_TWO = CODE_STAGE_ONE.model_copy(
    update={
        "transmission_mse": 3.0,
        "transmission_gradient": 6.0,
        "reflection_mse": 3.0,
        "reflection_gradient": 6.0,
        "reconstruction": 0,
        "adversarial_from_epoch": 0,
        "fakes": ["transmission", "reflection"],
    }
)
TERM_NAMES = {
    "loss_icnn_pixel": "pixel_transmission",
    "loss_rcnn_pixel": "pixel_reflection",
    "loss_icnn_vgg": "perceptual_transmission",
    "loss_exclu": "exclusion",
    "loss_recons": "reconstruction",
}


def check_train_step(file: GoldenFile) -> None:
    # In float64: rounding moves gradients through rectifiers and maxima by more than is allowed.
    meta = file.metadata
    vgg = fill(Vgg19(), int(meta["vgg_seed"]), "vgg").double()
    judge = fill(VggDiscriminator(), int(meta["disc_seed"]), "disc").double()
    seeds = {"stage1": [meta["seed"]], "stage2": [meta["seed"], meta["stage2_seed"]]}
    for case, stage in sorted({(m[1], m[2]) for m in file.matching(r"(n\d+)\.(stage\d)\..*")}):
        system = system_of(meta["network"], vgg, seeds[stage]).double()
        network = system.stage2 or system.stage1
        system.stage1.requires_grad_(stage == "stage1")
        criteria = CODE_STAGE_ONE if stage == "stage1" else CODE_STAGE_TWO
        true = {
            name: file.take(f"{case}.{letter}").double()
            for name, letter in (("blended", "I"), ("transmission", "T"), ("reflection", "R"))
        }
        T, R = system(true["blended"])
        made = {"transmission": T, "reflection": R}
        key = f"{case}.{stage}"
        file.compare(f"{key}.pred_T", T, atol=OUTPUT)
        file.compare(f"{key}.pred_R", R, atol=OUTPUT)

        loss_D = criteria.discriminator_term(judge, made, true)
        # Stored before its factor, whereas its gradients include it.
        file.compare(f"{key}.loss_D", loss_D / criteria.adversarial, rtol=1e-5)
        judge.zero_grad()
        loss_D.backward()
        for match in file.matching(rf"{key}\.D\.(.+)\.grad"):
            file.compare_norm(match[0], judge.get_parameter(match[1]).grad, 5e-3)

        terms = criteria.generator_terms(made, true, vgg)
        for theirs, ours in TERM_NAMES.items():
            if ours in terms:
                file.compare(f"{key}.{theirs}", terms[ours], rtol=1e-5)
        adversarial = criteria.adversarial_term(judge, made, true)
        file.compare(f"{key}.loss_G_GAN", adversarial, rtol=1e-5)
        loss_G = torch.stack([*terms.values(), adversarial]).sum()
        file.compare(f"{key}.loss_G", loss_G, rtol=1e-5)
        network.zero_grad()
        loss_G.backward()
        compare_gradients(file, f"{key}.grad.", network)


def compare_gradients(file: GoldenFile, prefix: str, network: nn.Module) -> None:
    for match in file.matching(re.escape(prefix) + r"(.+?)(\.norm|\[0:2,::25\])?"):
        gradient = network.get_parameter(match[1]).grad
        if match[2] == ".norm":
            file.compare(match[0], gradient.norm(), rtol=5e-3)
        else:
            file.compare_norm(match[0], gradient[0:2, ::25] if match[2] else gradient, 5e-3)


CHECKS: Mapping[str, Callable[[GoldenFile], None]] = {
    "recipe_check": check_recipe,
    "blocks_new": check_blocks_new,
    "blocks_old": check_blocks_old,
    "net_ytmt_.*": check_network,
    "hypercolumn": check_hypercolumn,
    "hyper_single": check_single_stage,
    "hyper_two_stage": check_two_stages,
    "gan": check_gan,
    "losses": check_losses,
    "metrics": check_metrics,
    "geometry": check_geometry,
    "synthesis": check_synthesis,
    "train_step": check_train_step,
}

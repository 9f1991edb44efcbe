"""Numbers of the reference implementation of YTMT, checked entry by entry."""

import re
from collections.abc import Callable, Mapping, Sequence

import pytest
import torch
from fixtures import GoldenFile, parametrize_over_files, run_check
from torch import Tensor, nn
from ytmt_data import check_geometry, check_metrics, check_synthesis
from ytmt_recipe import OUTPUT, channels, filled, filled_vgg, named, recipe_tensor, system_of
from ytmt_training import check_gan, check_losses, check_train_step

from dereflect.methods.ytmt.config import NAMED
from dereflect.methods.ytmt.fast.system import FastSystem
from dereflect.methods.ytmt.two_stage import YtmtSystem
from dereflect.nn.exchange import ExchangeHead


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize_over_files(metafunc, "ytmt")


def test_golden_file(golden_file):
    run_check(golden_file, CHECKS)


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

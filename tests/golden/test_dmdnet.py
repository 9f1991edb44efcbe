import contextlib

import pytest
import torch
from dmdnet_depth import check_depth_blocks, check_depth_full, recipe_depth_network
from dmdnet_parts import (
    check_blocks,
    check_dsmamba,
    check_mecm,
    check_scan_orders,
    check_selective_scan,
    check_spe,
)
from dmdnet_recipe import compare_orders, depth_features, forced_orders, small_network
from dmdnet_training import (
    check_losses,
    check_manifest,
    check_metrics,
    check_recipe,
    check_recipe_checks,
    check_synthesis,
    check_train_small,
)
from fixtures import GoldenFile, parametrize_over_files, run_check, section

from dereflect.methods.dmdnet import memory as plain_memory
from dereflect.methods.dmdnet.dsmamba import DSMamba
from dereflect.methods.dmdnet.fast import memory as fast_memory
from dereflect.methods.dmdnet.fast.network import FastDMDNet
from dereflect.methods.dmdnet.orders import (
    OrderBook,
)


def pytest_generate_tests(metafunc):
    parametrize_over_files(metafunc, "dmdnet")


def test_golden_file(golden_file):
    with torch.no_grad():
        run_check(golden_file, CHECKS)


def check_network(file: GoldenFile) -> None:
    full = file.name == "network_full"
    image = file.take("image")
    slots: dict[str, list[torch.Tensor]] = {}
    for dtype, label, atol in (
        (torch.float64, "f64", 1e-7 if full else 1e-8),
        (torch.float32, "f32", 5e-4 if full else 2e-4),
    ):
        network = small_network(file, dtype)
        depth = depth_features(file, dtype)
        seen = {}

        def watch(name, first, second, seen=seen):
            seen[name] = {"T": first, "R": second}

        for form in (network, FastDMDNet(network)):
            book = forced_orders(file) if dtype == torch.float32 else OrderBook()
            with slots_of(type(form).__name__, dtype, slots):
                done = form(image.to(dtype), depth, orders=book, watch=watch)
            file.compare(f"{label}.T", done.transmission, atol=atol)
            file.compare(f"{label}.R", done.reflection, atol=atol)
            compare_orders(file, book)
            if dtype == torch.float64:
                check_intermediates(file, seen)
                check_proximity_maps(file, network, image, depth)
        if dtype == torch.float64:
            traces = network(image.double(), depth, train=True).traces
            file.compare("gates", torch.cat([trace.gate for trace in traces]), atol=1e-5)


@contextlib.contextmanager
def slots_of(form, dtype, slots):
    """Note the two slots that each pixel reads in the float64 run; make the float32 run read the same ones.

    Like the orders, they are choices that a rounding difference can tip where two slots are equally similar.
    """
    kept = plain_memory.two_largest
    replayed = iter(slots.get(form, []))

    def note(scores):
        values, indices = kept(scores)
        slots.setdefault(form, []).append(indices)
        return values, indices

    def replay(scores):
        indices = next(replayed)
        return scores.gather(-1, indices), indices

    with pytest.MonkeyPatch.context() as patch:
        for module in (plain_memory, fast_memory):
            patch.setattr(module, "two_largest", note if dtype == torch.float64 else replay)
        yield


def check_intermediates(file, seen) -> None:
    for match in file.matching(r"f64\.(proximity\d)"):
        file.compare(match[0], seen[match[1]]["T"], atol=1e-5)
    for match in file.matching(r"f64\.encoder\.([TR])(\d)"):
        file.compare(match[0], seen[f"encoder{match[2]}"][match[1]], atol=1e-5)
    for match in file.matching(r"f64\.(.*#\d)\.([TR])"):
        file.compare(match[0], seen[match[1]][match[2]], atol=1e-5)


def check_proximity_maps(file, network, image, depth) -> None:
    """The fused proximity maps, caught on the way through the plain network."""
    wanted = file.matching(r"prox\.(\d+)\.([TR])")
    if not wanted:
        return
    maps, kept = [], DSMamba.fused_proximity

    def catch(*arguments):
        maps.append(kept(*arguments))
        return maps[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DSMamba, "fused_proximity", catch)
        network(image.to(depth.proximity.dtype), depth)
    for match in wanted:
        found = maps[2 * int(match[1]) + "TR".index(match[2])]
        file.compare(match[0], found.reshape(file.take(match[0]).shape), atol=1e-5)


def check_pipeline(file: GoldenFile) -> None:
    about, image = section(file), file.take("image").double()
    depth = recipe_depth_network(file, about["seed"]).double().features(image)
    file.compare("final_output", depth.proximity, atol=1e-8)
    network = small_network(file, torch.float64)
    for form in (network, FastDMDNet(network)):
        book = OrderBook()
        done = form(image, depth, orders=book)
        compare_orders(file, book)
        file.compare("T", done.transmission, atol=1e-8)
        file.compare("R", done.reflection, atol=1e-8)


CHECKS = {
    "scan_orders": check_scan_orders,
    "spe": check_spe,
    "selective_scan": check_selective_scan,
    "dsmamba": check_dsmamba,
    "mecm": check_mecm,
    "blocks": check_blocks,
    "network_.*": check_network,
    "depth_blocks": check_depth_blocks,
    "depth_full": check_depth_full,
    "pipeline": check_pipeline,
    "losses": check_losses,
    "train_small": check_train_small,
    "metrics": check_metrics,
    "synthesis": check_synthesis,
    "recipe_checks": check_recipe_checks,
    "manifest": check_manifest,
    "recipe": check_recipe,
}

"""Golden checks of DMDNet's parts, plain and fast; `test_dmdnet.py` runs them."""

import torch
from dmdnet_recipe import fill
from fixtures import GoldenFile, section
from torch import nn

from dereflect.methods.dmdnet.blocks import EFFN, BlockSequence, PixelNorm
from dereflect.methods.dmdnet.config import DMDNetConfig
from dereflect.methods.dmdnet.dsmamba import DSMamba, position_code
from dereflect.methods.dmdnet.encoder import EncodingBranch
from dereflect.methods.dmdnet.fast.blocks import Streams, decode, with_effn
from dereflect.methods.dmdnet.fast.dsmamba import depth_terms, with_scanned
from dereflect.methods.dmdnet.fast.memory import answer, compensation
from dereflect.methods.dmdnet.fast.mugi import interact
from dereflect.methods.dmdnet.fast.network import encode
from dereflect.methods.dmdnet.forward_pass import ForwardPass
from dereflect.methods.dmdnet.memory import MECM, evolve, global_stream, memory_losses, spatial_stream
from dereflect.methods.dmdnet.orders import (
    OrderBook,
    global_order,
    median_of_sorted,
    region_ranks,
    regional_order,
    scan_order,
)
from dereflect.nn.mugi import ChannelNorm, CrossedGate, MuGIBlock, SimpleChannelAttention
from dereflect.nn.selective_scan import selective_scan, selective_scan_reference

SCANS = {"fast": selective_scan, "plain": selective_scan_reference}


def check_scan_orders(file: GoldenFile) -> None:
    for match in file.matching(r"r(\d+)\.map"):
        number, proximity = match[1], file.take(match[0])
        assert torch.equal(regional_order(proximity), file.take(f"r{number}.order").long()), match[0]
        threshold = median_of_sorted(proximity.flatten().sort(descending=True).values)
        file.compare(f"r{number}.threshold", threshold[None])
        file.compare(f"r{number}.rank", torch.from_numpy(region_ranks((proximity >= threshold).numpy())))
        for kind in ("order", "order_stable"):
            if f"g{number}.{kind}" in file:
                order = global_order(proximity[None, None])[0]
                assert torch.equal(order, file.take(f"g{number}.{kind}").long()), f"g{number}"
    if "ambiguous.map" in file:
        file.compare("ambiguous.order", regional_order(file.take("ambiguous.map")))
    if "batch.map" in file:
        file.compare("batch.order_R", scan_order(file.take("batch.map"), "regional"))
        file.compare("batch.order_G", scan_order(file.take("batch.map"), "global"))


def check_spe(file: GoldenFile) -> None:
    for key in file.keys:
        height, width, channels = map(int, key.split("x"))
        code = position_code(height, width, channels, torch.float32).expand(height, -1, -1)
        file.compare(key, code.reshape(height * width, channels), atol=1e-6)


def check_selective_scan(file: GoldenFile) -> None:
    for case in file.groups():
        names = ("u", "delta", "A", "B", "C", "D", "delta_bias")
        inputs = [file.take(f"{case}.{name}") for name in names]
        for scan in SCANS.values():
            file.compare(f"{case}.y", scan(*inputs), atol=1e-4, rtol=1e-4)
            double = [value.double().requires_grad_() for value in inputs]
            with torch.enable_grad():
                y = scan(*double)
            expected = file.take(f"{case}.y64")
            file.compare(f"{case}.y64", y, atol=1e-10 * expected.abs().max().item(), rtol=1e-10)
            if f"{case}.grad_out" in file:
                gradients = torch.autograd.grad(y, double, file.take(f"{case}.grad_out"))
                with torch.enable_grad():  # the fast path's own backward, in float32
                    single = [value.clone().requires_grad_() for value in inputs]
                    y = scan(*single)
                    found = torch.autograd.grad(y, single, file.take(f"{case}.grad_out").float())
                for name, gradient in zip(names, found, strict=True):
                    file.compare_norm(f"{case}.grad.{name}", gradient, limit=1e-5)
                for name, gradient in zip(names, gradients, strict=True):
                    largest = file.take(f"{case}.grad.{name}").abs().max().item()
                    file.compare(f"{case}.grad.{name}", gradient, atol=1e-10 * largest, rtol=1e-10)


ABLATIONS = {
    "T_global_R_global": {"transmission_scan": "global", "reflection_scan": "global"},
    "T_global_R_regional": {"transmission_scan": "global", "reflection_scan": "regional"},
    "T_regional_R_regional": {"transmission_scan": "regional", "reflection_scan": "regional"},
    "no_spe": {"position_code": False},
    "original_ssm": {"state_space": "original"},
    "raster": {"transmission_scan": "raster", "reflection_scan": "raster"},
}


def check_dsmamba(file: GoldenFile) -> None:
    for case, about in section(file)["cases"].items():
        switches = {"": {}} | {
            match[1]: ABLATIONS[match[1]] for match in file.matching(rf"{case}\.ablation\.(.*)\.out_T")
        }
        for name, switch in switches.items():
            module = DSMamba(about["d_model"], DMDNetConfig(**switch))
            fill(module, file, about["seed"], about["key_prefix"])
            variant = f"ablation.{name}" if name else "f64"
            check_dsmamba_case(file, module.double(), case, variant, torch.float64, 1e-10)
            if not name:
                check_dsmamba_case(file, module.float(), case, "f32", torch.float32, 2e-5)


def check_dsmamba_case(file, module, case, variant, dtype, atol) -> None:
    x = {stream: file.take(f"{case}.x_{stream}").to(dtype) for stream in "TR"}
    proximity = file.take(f"{case}.proximity").to(dtype)
    books = OrderBook(), OrderBook()
    as_formulas = module(x["T"], x["R"], proximity, ForwardPass(books[0]))
    terms = depth_terms(module, proximity)
    for stream, formula in zip("TR", as_formulas, strict=True):
        key = f"{case}.{variant}.out_{stream}"
        file.compare(key, formula, atol=atol)
        fast = with_scanned(module, nn.Identity(), x[stream], terms, 0, stream, ForwardPass(books[1]))
        file.compare(key, fast - x[stream], atol=atol)
        if variant.startswith("ablation"):
            continue
        order = file.take(f"{case}.order_{stream}").long()
        assert all(torch.equal(book.used[0, stream], order) for book in books), key
        if dtype == torch.float64:
            check_scan_of_dsmamba(file, module, case, stream, x[stream], proximity, order)


def check_scan_of_dsmamba(file, module, case, stream, x, proximity, order) -> None:
    """What enters and leaves the scan, with both directions gathered in the channels, as the file has it."""
    features, _ = module.project(x)
    file.compare(f"{case}.prox_{stream}", module.fused_proximity(features, proximity), atol=1e-10)
    inputs = module.scan_inputs(stream, features, module.depth_share(proximity), order)
    index = torch.stack([order, order.flip(-1)], dim=1)[:, :, None]  # (B, 2, 1, L)

    def gathered(raster):  # (B, 2, X, L)
        return raster.gather(-1, index.expand(-1, -1, raster.shape[2], -1))

    sequences = inputs._replace(
        u=gathered(inputs.u[:, None].expand(-1, 2, -1, -1)).flatten(1, 2),
        delta=gathered(inputs.delta).flatten(1, 2),
        B=gathered(inputs.B),
        C=gathered(inputs.C),
        order=None,
    )
    for name in ("u", "delta", "B", "C"):
        file.compare(f"{case}.scan_{stream}.{name}", getattr(sequences, name), atol=1e-6, rtol=1e-6)
    y = selective_scan_reference(**sequences._asdict())
    file.compare(f"{case}.scan_{stream}.y", y, atol=1e-6, rtol=1e-6)


def check_mecm(file: GoldenFile) -> None:
    for case, about in section(file)["cases"].items():
        config = DMDNetConfig(experts=about["num_experts"], top_k=about["top_k"], routing="batch")
        module = fill(MECM(about["channels"], config), file, about["seed"], about["key_prefix"])
        x, bank = file.take(f"{case}.x"), file.take(f"{case}.memory")
        file.compare(f"{case}.gate", module.gate(x), atol=1e-5)
        file.compare(f"{case}.eval.out", module(x, bank, "bank")[0], atol=1e-5)
        file.compare(f"{case}.eval.out", compensation(module, x, bank), atol=1e-5)
        out, trace = module(x, bank, "bank", train=True)
        assert trace.ran[0].nonzero()[:, 0].tolist() == about["experts_run"]
        file.compare(f"{case}.train.out", out, atol=1e-5)
        file.compare(f"{case}.train.loss_align", trace.align, atol=1e-5)
        file.compare(f"{case}.train.loss_triplet", trace.triplet, atol=1e-5)
        file.compare(f"{case}.train.memory", evolve(bank, trace.query, trace.ran), atol=1e-5)
        for match in file.matching(rf"{case}\.expert(\d+)\.eval\.out"):
            check_expert(file, module, f"{case}.expert{match[1]}", int(match[1]), x, bank)


def check_expert(file, module, key, number, x, bank) -> None:
    expert = module.Memory_Experts[number].memory_module
    slots = bank[number]
    file.compare(f"{key}.eval.out", answer(expert, x, slots), atol=1e-5)
    file.compare(f"{key}.global_compensation", global_stream(x, slots), atol=1e-5)
    file.compare(f"{key}.spatial", spatial_stream(x, slots), atol=1e-5)
    everyone = torch.ones(len(x), 1, dtype=torch.bool)
    for step, features in (("train", x), ("step2", x * 0.5 + 0.3)):
        if step == "step2":
            file.compare(f"{key}.step2.out", expert(features, slots), atol=1e-5)
        else:
            file.compare(f"{key}.eval.out", expert(features, slots), atol=1e-5)
        query = features.mean(dim=(2, 3))
        align, triplet = memory_losses(query, slots)
        file.compare(f"{key}.{step}.loss_align", align, atol=1e-5)
        file.compare(f"{key}.{step}.loss_triplet", triplet, atol=1e-5)
        slots = evolve(slots[None], query, everyone)[0]
        file.compare(f"{key}.{step}.memory", slots, atol=1e-5)


def check_blocks(file: GoldenFile) -> None:
    about = section(file)
    seed, x, y = about["seed"], file.take("x"), file.take("y")
    channels = x.shape[1]
    single = {
        "LayerNorm2d": ChannelNorm(channels),
        "CABlock": SimpleChannelAttention(channels),
        "LayerNorm": PixelNorm(channels),
        "EFFN": EFFN(channels),
    }
    for name, module in single.items():
        fill(module, file, seed, f"{name}.")
        assert {key: list(value.shape) for key, value in module.state_dict().items()} == about["state"][name]
        file.compare(f"{name}.out0", module(x), atol=2e-5)
    file.compare("EFFN.out0", with_effn(single["EFFN"], nn.Identity(), x) - x, atol=2e-5)
    for name, module in (
        ("DualStreamGate", CrossedGate()),
        ("MuGIBlock", MuGIBlock(channels)),
        ("MuGIBlock_unshared", MuGIBlock(channels, shared_b=False)),
    ):
        fill(module, file, seed, f"{name}.")
        if name in about["state"]:
            assert {key: list(v.shape) for key, v in module.state_dict().items()} == about["state"][name]
        runs = [module(x, y), interact(module, x, y)] if isinstance(module, MuGIBlock) else [module(x, y)]
        for i, out in ((i, out) for run in runs for i, out in enumerate(run)):
            file.compare(f"{name}.out{i}", out, atol=2e-5)
    image = file.take("enc_in")
    dims = [file.take(f"Encoding_Branch.T{level}").shape[1] for level in range(1, 6)]
    encoder = fill(EncodingBranch(dims), file, seed, "Encoding_Branch.")
    for levels in (encoder(image), encode(encoder, image)):
        for level, pair in enumerate(levels, start=1):
            for stream, out in zip("TR", pair, strict=True):
                file.compare(f"Encoding_Branch.{stream}{level}", out, atol=2e-5)
    for name in ("DMBlock_mid", "DMBlock_last"):
        check_dmblock(file, name, about["state"][name])


def check_dmblock(file, name, about) -> None:
    config = DMDNetConfig(memory=name == "DMBlock_last")
    for dtype, label, atol in ((torch.float64, "f64", 1e-10), (torch.float32, "f32", 2e-5)):
        sequence = BlockSequence(about["dim"], 1, config)
        if name == "DMBlock_mid":
            del sequence.blocks[0].MECM
        fill(sequence.blocks[0], file, about["seed"], about["key_prefix"])
        sequence.to(dtype)
        pair = file.take("dm.x_T").to(dtype), file.take("dm.x_R").to(dtype)
        proximity = file.take("dm.proximity").to(dtype)
        banks = tuple((stream, file.take(f"dm.memory_{stream}").to(dtype)) for stream in "TR")
        book = OrderBook([(file.take(f"{name}.order_T"), file.take(f"{name}.order_R"))])
        free = OrderBook()
        if dtype == torch.float64:
            book = free
        streams = Streams(*pair)
        decode(sequence, streams, proximity, banks, ForwardPass(book))
        for out in (sequence(pair, proximity, banks, ForwardPass(book)), streams.pair):
            for stream, value in zip("TR", out, strict=True):
                file.compare(f"{name}.{label}.out_{stream}", value, atol=atol)
                assert torch.equal(book.used[0, stream], file.take(f"{name}.order_{stream}").long())
        if f"{name}.gate_T" in file and dtype == torch.float64:
            asking = sequence.last(*pair, proximity, ForwardPass(free))
            for stream, x in zip("TR", asking, strict=True):
                file.compare(f"{name}.gate_{stream}", sequence.last.MECM.gate(x), atol=1e-10)

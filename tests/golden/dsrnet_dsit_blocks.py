"""Golden checks of single blocks; `test_dsrnet_dsit.py` runs them."""

from collections.abc import Callable
from typing import Any

import torch
from dsrnet_dsit_recipe import both_dtypes, fill
from fixtures import GoldenFile, section
from torch import Tensor, nn

from dereflect.methods.dsit.attention import DualAttentionBlock
from dereflect.methods.dsit.network import ConvPrior
from dereflect.methods.dsrnet.residual import ResidualModule
from dereflect.methods.dsrnet.semantic import doubled
from dereflect.nn.mugi import ChannelNorm, MuGIBlock
from dereflect.nn.single_stream import SingleStreamBlock
from dereflect.nn.swin import PatchEmbed, PatchMerging, Swin, SwinConfig, SwinStage
from dereflect.nn.windows import WindowAttention, fitting_window, position_index

Args = dict[str, Any]


def dual_attention(args: Args) -> DualAttentionBlock:
    side = fitting_window(args["window"], *args["input_resolution"])
    assert side == args.get("effective_window", side)
    return DualAttentionBlock(args["dim"], args["heads"], side)


def small_swin(args: Args) -> Swin:
    config = SwinConfig(args["embed"], tuple(args["depths"]), tuple(args["heads"]), args["window"])
    return Swin(config)


MODULES: dict[str, Callable[[Args], nn.Module]] = {
    "ln2d": lambda args: ChannelNorm(args["channels"]),
    "mugi_shared": lambda args: MuGIBlock(args["c"], args["shared_b"]),
    "mugi_unshared": lambda args: MuGIBlock(args["c"], args["shared_b"]),
    "sin": lambda args: SingleStreamBlock(args["c"]),
    "lrm": lambda args: ResidualModule(args["width"], tuple(args["num_blocks"])),
    "conv_prior": lambda args: ConvPrior(args["c"], args["mugi_per_level"]),
    "wsa": lambda args: WindowAttention(args["dim"], args["window"], args["heads"]),
    "wca": lambda args: WindowAttention(args["dim"], args["window"], args["heads"], layers=2),
    "daib": dual_attention,
    "daib_shrunk": dual_attention,
    "patch_embed": lambda args: PatchEmbed(args["dim"], args["patch"]),
    "patch_merging": lambda args: PatchMerging(args["dim"]),
    "swin_layer": lambda args: SwinStage(
        args["dim"], args["depth"], args["heads"], args["window"], 4, args["merging"]
    ),
    "swin_small": small_swin,
    "down": lambda args: nn.Conv2d(args["cin"], args["cout"], 2, stride=2),
    "up": lambda args: nn.Sequential(
        nn.Conv2d(args["cin"], 2 * args["cin"], 1, bias=False), nn.PixelShuffle(2)
    ),
    "bilinear": lambda args: doubled().seq,
}
STRIPPED = {"down": "", "up": "0."}
"""Modules whose own keys begin with this, where the recipe's do not."""


def check_blocks(file: GoldenFile) -> None:
    about = section(file)
    present = set(file.groups())
    for case, told in about["cases"].items():
        if case not in present:
            continue
        if case == "daib_grad":
            check_gradients(file, about["cases"][told["args"]["weights_of"]], told["args"])
            continue
        for dtype, atol in both_dtypes(1e-10, 2e-5):
            module = MODULES[case](told["args"])
            if told.get("keys"):
                put_weights(module, file, about["metadata"]["seed"], told)
            inputs = [file.take(match[0]).to(dtype) for match in file.matching(rf"{case}\.in\d+")]
            inputs = [as_map(x, told["args"]) for x in inputs]
            outputs = flat(module.to(dtype).eval()(*inputs))
            if case == "patch_embed":  # the fixture has channels first
                outputs = [value.permute(0, 3, 1, 2) for value in outputs]
            expected = file.matching(rf"{case}\.out\d+")
            assert len(expected) == len(outputs), case
            for number, value in enumerate(outputs):
                key = f"{case}.out{number}"
                file.compare(key, value.reshape(file.take(key).shape), atol=atol)
    for match in file.matching(r"index\.(sa|ca)(\d+)"):
        index = position_index(int(match[2]), layers=1 if match[1] == "sa" else 2)
        assert torch.equal(index, file.take(match[0]).long()), match[0]


def put_weights(module: nn.Module, file: GoldenFile, seed: int, told: Args) -> None:
    """Fill from the recipe, and see that keys and shapes are those of the original."""
    case = told["prefix"].rstrip(".")
    strip = STRIPPED.get(case)
    state = module.state_dict()
    if strip is None:
        own = {key: list(value.shape) for key, value in state.items()}
        assert own == dict(zip(told["keys"], told["shapes"], strict=True)), case
        fill(module, file, seed, told["prefix"])
        return
    from dsrnet_dsit_recipe import recipe

    maker = recipe(file.path.parent)
    names = {key.rpartition(".")[2]: key for key in told["keys"]}  # the original wraps these in a sequence
    filled = {
        key: maker.recipe_tensor(told["prefix"] + names[key.removeprefix(strip)], value.shape, seed)
        for key, value in state.items()
    }
    assert len(filled) == len(told["keys"])
    module.load_state_dict(filled)


def as_map(x: Tensor, args: Args) -> Tensor:
    """Tokens (B, H * W, C) as the map (B, H, W, C) that our layers take."""
    return x.reshape(x.shape[0], *args["map"], -1) if "map" in args else x


def flat(output: Any) -> list[Tensor]:
    """All tensors of a nested result."""
    if isinstance(output, Tensor):
        return [output]
    return [tensor for part in output for tensor in flat(part)]


def check_gradients(file: GoldenFile, weights_of: Args, args: Args) -> None:
    module = dual_attention(args)
    fill(module, file, section(file)["metadata"]["seed"], weights_of["prefix"])
    module.double().train()
    inputs = [file.take(f"daib_grad.in{i}").requires_grad_() for i in (0, 1)]
    g = file.take("daib_grad.g")
    with torch.enable_grad():
        outputs = module(*inputs)
        (outputs[0] * g + outputs[1] * g.flip(1)).sum().backward()
    for i in (0, 1):
        file.compare(f"daib_grad.out{i}", outputs[i], atol=1e-10)
        file.compare_norm(f"daib_grad.d_in{i}", inputs[i].grad, limit=1e-10)
    for match in file.matching(r"daib_grad\.d\.(.+)"):
        file.compare_norm(match[0], module.get_parameter(match[1]).grad, limit=1e-10)

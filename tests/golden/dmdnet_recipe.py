"""Fixture access of the DMDNet golden tests: the manifest and recipe that lie beside the files."""

from typing import Any

import torch
from fixtures import GoldenFile, recipe, section

from dereflect.methods.dmdnet.config import DMDNetConfig
from dereflect.methods.dmdnet.network import DepthFeatures, DMDNet
from dereflect.methods.dmdnet.orders import OrderBook


def fill(module, file: GoldenFile, seed: int, prefix: str = "", family: str = "dmdnet"):
    """Put the recipe's weights into a module (in its dtype)."""
    recipe(file.path.parent).apply_recipe(module, seed, family, prefix)
    return module


def small_network(
    file: GoldenFile, dtype: torch.dtype, about: dict[str, Any] | None = None, **switches
) -> DMDNet:
    """The network of a fixture, its banks included."""
    about = about or section(file)
    network = DMDNet(DMDNetConfig(dims=tuple(about["dims"]), **switches))
    maker = recipe(file.path.parent)
    state = {
        key: maker.recipe_tensor(key, value.shape, about["seed"])
        for key, value in network.state_dict().items()
        if not key.startswith("memory_")
    }
    network.load_state_dict(state | maker.recipe_memory(about["dims"], about["seed"]))
    return network.to(dtype)


def depth_features(file: GoldenFile, dtype: torch.dtype, prefix: str = "depth.") -> DepthFeatures:
    semantics = tuple(file.take(f"{prefix}layer{i}").to(dtype) for i in (1, 2, 3))
    return DepthFeatures(semantics, file.take(f"{prefix}final_output").to(dtype))


def forced_orders(file: GoldenFile) -> OrderBook:
    calls = sorted({match[1] for match in file.matching(r"order\.(\d+)\.[TR]")})
    return OrderBook([(file.take(f"order.{call}.T"), file.take(f"order.{call}.R")) for call in calls])


def compare_orders(file: GoldenFile, book: OrderBook) -> None:
    """All orders of the file equal the used ones, and no call is missing."""
    for match in file.matching(r"order\.(\d+)\.([TR])"):
        assert torch.equal(book.used[int(match[1]), match[2]][0], file.take(match[0]).long()), match[0]
    assert len(book.used) == len(file.matching(r"order\..*"))

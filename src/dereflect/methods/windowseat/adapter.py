"""Low-rank adapters (Hu et al., "LoRA", ICLR 2022) beside the linear layers of a transformer.

y = W x + b + s B A x. The adapter stays beside its layer, so that the layer itself may be quantised.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dereflect.errors import ModelError
from dereflect.weights import read_checkpoint

KEY = re.compile(r"(?P<module>.+)\.lora_(?P<factor>[AB])\.default\.weight")


class AdaptedLinear(nn.Module):
    """A layer with a low-rank adapter beside it.

    Args:
        layer: maps (..., in) to (..., out).
        down: A, (r, in).
        up: B, (out, r).
        scale: s.
    """

    def __init__(self, layer: nn.Module, down: Tensor, up: Tensor, scale: float) -> None:
        super().__init__()
        self.layer, self.scale = layer, scale
        self.down = nn.Parameter(down, requires_grad=False)
        self.up = nn.Parameter(up, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        y = self.layer(x)
        low = nn.functional.linear(x.to(self.down.dtype), self.down)
        return y + (self.scale * nn.functional.linear(low, self.up)).to(y.dtype)


def adapter_scale(config: Mapping[str, Any], source: str) -> float:
    """s = alpha / r, or alpha / sqrt(r) for rank-stabilised adapters.

    Raises:
        ModelError: the numbers are missing, or the adapter is of a kind that is not known here.
    """
    if config.get("use_dora") or config.get("bias", "none") != "none":
        raise ModelError(source, "is an adapter with DoRA or biases, which is not supported")
    if config.get("rank_pattern") or config.get("alpha_pattern"):
        raise ModelError(source, "gives single layers ranks or scales of their own, which is not supported")
    try:
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(source, "states no rank r and lora_alpha") from error
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def adapt(network: nn.Module, state: Mapping[str, Tensor], scale: float, source: str) -> None:
    """Put adapters beside the layers that a state dict names, strictly.

    Args:
        network: changed in place.
        state: ``MODULE.lora_A.default.weight`` (r, in) and ``MODULE.lora_B.default.weight`` (out, r).

    Raises:
        ModelError: a key of another form, half an adapter, factors that do not fit together, or a layer that
            is not there or of another size.
    """
    factors: dict[str, dict[str, Tensor]] = {}
    strange = []
    for key, value in state.items():
        match = KEY.fullmatch(key)
        if match:
            factors.setdefault(match["module"], {})[match["factor"]] = value
        else:
            strange.append(key)
    layers = dict(network.named_modules())
    strange += [f"{name}.lora_A" for name in factors if name not in layers]
    if strange or not factors:
        more = f" and {len(strange) - 5} more" if len(strange) > 5 else ""
        raise ModelError(source, f"is not this model's adapter; unexpected: {', '.join(strange[:5])}{more}")
    for name, pair in factors.items():
        layer = layers[name]
        shape = getattr(layer, "out_features", None), getattr(layer, "in_features", None)
        if set(pair) != {"A", "B"} or shape != (pair["B"].shape[0], pair["A"].shape[1]):
            raise ModelError(source, f"the adapter of {name} does not fit its layer of {shape}")
        if pair["A"].shape[0] != pair["B"].shape[1]:
            raise ModelError(source, f"the two factors of the adapter of {name} differ in rank")
        parent, _, last = name.rpartition(".")
        dtype = _dtype_beside(layer)
        adapted = AdaptedLinear(layer, pair["A"].to(dtype), pair["B"].to(dtype), scale)
        setattr(network.get_submodule(parent), last, adapted)


def read_adapter(folder: Path) -> tuple[dict[str, Tensor], float]:
    """(state dict, scale) of a folder with ``adapter_config.json`` and the weights.

    Raises:
        ModelError: a file that is missing or not as expected.
    """
    path = folder / "adapter_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(path, "is not a readable adapter configuration") from error
    state = read_checkpoint(folder / "pytorch_lora_weights.safetensors")
    return state, adapter_scale(config, str(path))


def _dtype_beside(layer: nn.Module) -> torch.dtype:
    """The dtype of a layer's numbers; bfloat16 beside quantised ones."""
    weight = getattr(layer, "weight", None)
    dtype = weight.dtype if isinstance(weight, Tensor) else torch.bfloat16
    return dtype if dtype.is_floating_point else torch.bfloat16

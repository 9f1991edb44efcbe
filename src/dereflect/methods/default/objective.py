"""How the default model is trained: networks, optimizer and schedule. The recipe is `default`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dereflect.data.folders import whole_folder
from dereflect.errors import RecipeError
from dereflect.methods.default.crops import GlassCrops, develop
from dereflect.methods.default.losses import losses
from dereflect.methods.default.method import DefaultMethod
from dereflect.methods.default.network import DefaultConfig, DefaultNetwork
from dereflect.methods.default.settings import Settings, read_settings
from dereflect.methods.default.validation import held_out_sets, look_at, measure
from dereflect.methods.objective import Batch, Moment, Objective, Turn
from dereflect.nn.vgg16 import load_vgg16


class DefaultObjective(Objective):
    """Trains both layers at once; see `losses`."""

    averaged = "separator"
    shuffled = False  # samples are random already, and crops grow with their numbers

    def __init__(self, settings: Mapping[str, Any], folders: Mapping[str, Path]) -> None:
        super().__init__()
        self.settings = read_settings(settings)
        self.folder = whole_folder(folders)
        network = _build(self.settings)
        self.networks["separator"] = network
        self.optimizers["separator"] = torch.optim.AdamW(
            _groups(network, self.settings),
            self.settings.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=self.settings.weight_decay,
        )
        if self.settings.perceptual > 0:
            self.helpers["judge"] = _judge(network.config, self.settings)
        self.samples: GlassCrops = GlassCrops(self.settings, self.folder)

    def learning_rate(self, name: str, moment: Moment) -> float:
        """Linear warm-up, then cosine decay to `final_factor`."""
        settings = self.settings
        warm = min(1.0, (moment.step + 1) / max(settings.warm_up, 1))
        done = moment.step / moment.total_steps
        decay = settings.final_factor + (1 - settings.final_factor) * 0.5 * (1 + math.cos(math.pi * done))
        return settings.learning_rate * warm * decay

    def turns(self, batch: Batch, moment: Moment) -> Iterator[Turn]:
        """One turn: the separator."""
        with torch.no_grad():
            wanted = develop(batch, self.settings.real_reflection)
        found = self.networks["separator"](wanted["blended"])
        total, parts = losses(self.settings, found, wanted, self.helpers.get("judge"))
        yield Turn("separator", total, {name: part.detach() for name, part in parts.items()})

    def validate(self) -> dict[str, float]:
        """`measure` of every set that is held out."""
        network: DefaultNetwork = self.plain("separator").eval()
        results: dict[str, float] = {}
        for name, pairs in held_out_sets(self.settings, self.folder).items():
            found = measure(network, pairs, self.settings.validate_at)
            results |= {f"{name}_{key}": value for key, value in found.items()}
        network.train()
        return results

    def pictures(self) -> dict[str, Tensor]:
        """Four fixed crops with their layers."""
        network: DefaultNetwork = self.plain("separator").eval()
        shown = look_at(network, self.samples)
        network.train()
        return shown

    def export(self, folder: str) -> None:
        """Write config.json and model.safetensors (float16)."""
        DefaultMethod.wrap(self.plain("separator")).save_pretrained(folder)


def _build(settings: Settings) -> DefaultNetwork:
    """The network with trained encoders, whose first layers always stay as they are."""
    try:
        network = DefaultNetwork(DefaultConfig(**settings.network))
    except (TypeError, KeyError) as error:
        raise RecipeError("settings.network", str(error)) from error
    DefaultMethod.load_encoders(network, settings.encoder_weights)
    for encoder in network.encoders():
        encoder.requires_grad_(False)
        # Edges and colours are the same behind glass: the first layers stay as they are, at no cost.
        _later_stages(encoder).requires_grad_(settings.encoder_factor > 0)
    if settings.start_from:
        DefaultMethod.load_weights(network, Path(settings.start_from))
    return network


def _groups(network: DefaultNetwork, settings: Settings) -> list[dict[str, Any]]:
    """Parameters for the optimizer: all but the encoders, and their later stages at a rate of their own."""
    ids = {id(p) for encoder in network.encoders() for p in encoder.parameters()}
    groups: list[dict[str, Any]] = [{"params": [p for p in network.parameters() if id(p) not in ids]}]
    if settings.encoder_factor > 0:
        later = [p for encoder in network.encoders() for p in _later_stages(encoder).parameters()]
        groups.append({"params": later, "rate_factor": settings.encoder_factor})
    return groups


def _later_stages(encoder: nn.Module) -> nn.Module:
    stages: Any = encoder.stages
    later: nn.Module = stages[1:]
    return later


def _judge(config: DefaultConfig, settings: Settings) -> nn.Module:
    """VGG-16 where the settings name it, else an untouched copy of the first encoder."""
    if settings.judge:
        return load_vgg16(settings.judge)
    copy = DefaultNetwork(config)
    DefaultMethod.load_encoders(copy, settings.encoder_weights)
    for encoder in copy.encoders():
        return encoder
    raise RecipeError("settings.perceptual", "give settings.judge, or a network with an encoder")

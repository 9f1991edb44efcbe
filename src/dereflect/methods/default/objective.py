"""How the default model is trained: networks, optimizer and schedule. The recipe is `default`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dereflect.errors import RecipeError
from dereflect.methods.default.crops import GlassCrops
from dereflect.methods.default.losses import perceptual_loss, separation_loss
from dereflect.methods.default.method import DefaultMethod
from dereflect.methods.default.network import DefaultConfig, DefaultNetwork
from dereflect.methods.default.settings import Settings, read_settings
from dereflect.methods.default.validation import held_out_sets, look_at, measure
from dereflect.methods.objective import Batch, Moment, Objective, Turn


class DefaultObjective(Objective):
    """Trains both layers at once; see `separation_loss`.

    If ``perceptual`` > 0, the trained encoder itself judges the transmission too.
    """

    averaged = "separator"

    def __init__(self, settings: Mapping[str, Any], folders: Mapping[str, Path]) -> None:
        super().__init__()
        self.settings = read_settings(settings)
        self.folder = folders["data"]
        network = _build(self.settings)
        self.networks["separator"] = network
        self.optimizers["separator"] = torch.optim.AdamW(
            _groups(network, self.settings),
            self.settings.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=self.settings.weight_decay,
        )
        if self.settings.perceptual > 0:
            judge = DefaultNetwork(network.config)
            DefaultMethod.load_encoder(judge, self.settings.encoder_weights)
            assert judge.encoder is not None
            self.helpers["judge"] = judge.encoder
        self.samples = GlassCrops(self.settings, self.folder)

    def learning_rate(self, name: str, moment: Moment) -> float:
        """Linear warm-up, then cosine decay to `final_factor`."""
        settings = self.settings
        warm = min(1.0, (moment.step + 1) / max(settings.warm_up, 1))
        done = moment.step / moment.total_steps
        decay = settings.final_factor + (1 - settings.final_factor) * 0.5 * (1 + math.cos(math.pi * done))
        return settings.learning_rate * warm * decay

    def turns(self, batch: Batch, moment: Moment) -> Iterator[Turn]:
        """One turn: the separator."""
        transmission, reflection = self.networks["separator"](batch["blended"])
        loss, logs = separation_loss(self.settings, transmission, reflection, batch)
        if self.settings.perceptual > 0:
            perceptual = perceptual_loss(self.helpers["judge"], transmission, batch["transmission"])
            loss = loss + self.settings.perceptual * perceptual
            logs["perceptual"] = perceptual.detach()
        yield Turn("separator", loss, logs)

    def validate(self) -> dict[str, float]:
        """Mean PSNR and gain of every set that is held out."""
        network: DefaultNetwork = self.plain("separator").eval()
        results = measure(network, held_out_sets(self.settings, self.folder))
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
    """The network with a trained encoder, whose first layers always stay as they are."""
    try:
        network = DefaultNetwork(DefaultConfig(**settings.network))
    except TypeError as error:
        raise RecipeError(f"settings.network: {error}") from error
    if network.encoder is not None:
        DefaultMethod.load_encoder(network, settings.encoder_weights)
        network.encoder.requires_grad_(False)
        # Edges and colours are the same behind glass: the first layers stay as they are, at no cost.
        network.encoder.stages[1:].requires_grad_(settings.encoder_factor > 0)
    if settings.start_from:
        DefaultMethod.load_weights(network, Path(settings.start_from))
    return network


def _groups(network: DefaultNetwork, settings: Settings) -> list[dict[str, Any]]:
    """Parameters for the optimizer: all but the encoder, and its last stages at a rate of their own."""
    ids = set() if network.encoder is None else {id(p) for p in network.encoder.parameters()}
    groups: list[dict[str, Any]] = [{"params": [p for p in network.parameters() if id(p) not in ids]}]
    if settings.encoder_factor > 0:
        encoder = [] if network.encoder is None else list(network.encoder.stages[1:].parameters())
        groups.append({"params": encoder, "rate_factor": settings.encoder_factor})
    return groups

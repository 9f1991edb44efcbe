"""How YTMT is trained (paper sections 3.3 and 4): stage one alone, then stage two over a frozen stage one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dereflect.data.augment import JointGeometry
from dereflect.data.folders import data_folder
from dereflect.data.mixture import Mixture, Source
from dereflect.data.sources import pair_source, photo_source
from dereflect.data.synthesis import ceilnet
from dereflect.data.synthesis.triplet import Random, Triplet
from dereflect.images.picture import Array
from dereflect.methods.objective import Batch, Moment, Objective, Turn, since
from dereflect.methods.ytmt.criteria import Layer
from dereflect.methods.ytmt.hypercolumn import hypercolumn
from dereflect.methods.ytmt.method import YtmtMethod
from dereflect.methods.ytmt.settings import Settings, read_settings
from dereflect.methods.ytmt.stage_one import load_stage_one
from dereflect.methods.ytmt.two_stage import build_network
from dereflect.nn.discriminator import build_discriminator
from dereflect.nn.streams import TwoStreams
from dereflect.nn.vgg import Vgg19, load_vgg19


class YtmtObjective(Objective):
    """Training of one stage: the discriminator's turn, once its epoch has come, and the separator's.

    Stage two starts as a copy of stage one, with its optimizer's state where the result has one. Only the
    network of the present stage is trained; the loss looks at its layers alone.
    """

    def __init__(self, settings: Mapping[str, Any], folders: Mapping[str, Path]) -> None:
        super().__init__()
        self.settings = read_settings(settings)
        self.config, self.criteria = self.settings.config, self.settings.chosen.criteria
        self.samples = training_samples(self.settings, folders)
        self.vgg = self._load_vgg()
        separator = build_network(self.config)
        judge = build_discriminator(self.settings.discriminator.kind, self.settings.discriminator.width)
        self.networks = {"separator": separator, "discriminator": judge}
        choices = self.settings.optimiser
        self.optimizers = {
            name: torch.optim.Adam(
                network.parameters(),
                choices.learning_rate,
                betas=choices.betas,
                weight_decay=choices.weight_decay,
            )
            for name, network in self.networks.items()
        }
        if self.vgg is not None:
            self.helpers["vgg"] = self.vgg
        if self.settings.stage == 2:
            self._start_from_stage_one(separator)

    def _load_vgg(self) -> Vgg19 | None:
        needed = self.config.hypercolumn or self.criteria.perceptual
        return load_vgg19(self.settings.vgg) if needed else None

    def _start_from_stage_one(self, separator: nn.Module) -> None:
        result = load_stage_one(str(self.settings.stage_one), self.config)
        first = build_network(self.config)
        first.load_state_dict(result.network)
        separator.load_state_dict(result.network)
        if result.optimizer is not None:
            self.optimizers["separator"].load_state_dict(result.optimizer)
        self.helpers["stage1"] = first

    def turns(self, batch: Batch, moment: Moment) -> Iterator[Turn]:
        """See `Objective.turns`; the batch holds blended, transmission and reflection, (B, 3, H, W) each."""
        criteria = self.criteria
        transmission, reflection = self._separate(batch["blended"])
        made: dict[Layer, Tensor] = {"transmission": transmission, "reflection": reflection}
        adversary = bool(criteria.adversarial) and moment.epoch >= criteria.adversarial_from_epoch
        if adversary:
            loss = criteria.discriminator_term(self.networks["discriminator"], made, batch)
            yield Turn("discriminator", loss, {"discriminator": loss.detach()})
        terms = criteria.generator_terms(made, batch, self.vgg)
        judge = unwrapped(self.networks["discriminator"])
        if adversary:
            judge.requires_grad_(False)
            terms["adversarial"] = criteria.adversarial_term(judge, made, batch)
        total = torch.stack(list(terms.values())).sum()
        logs = {name: term.detach() for name, term in terms.items()}
        yield Turn("separator", total, {"total": total.detach(), **logs})
        judge.requires_grad_(True)

    def _separate(self, blended: Tensor) -> TwoStreams:
        separator = self.networks["separator"]
        if "stage1" not in self.helpers:
            return separator(self._features(blended))
        with torch.no_grad():
            transmission, reflection = self.helpers["stage1"](self._features(blended))
        return separator(self._features(transmission), self._features(reflection))

    @torch.no_grad()
    def _features(self, image: Tensor) -> Tensor:
        if not self.config.hypercolumn or self.vgg is None:
            return image
        return hypercolumn(image, self.vgg(image))

    def learning_rate(self, name: str, moment: Moment) -> float | None:
        """The separator's rate by epoch; the discriminator's never changes."""
        if name != "separator":
            return None
        factor = since(self.settings.chosen.learning_rate_steps, moment.epoch, 1.0)
        return self.settings.optimiser.learning_rate * factor

    def export(self, folder: str) -> None:
        """Write the system trained so far, its VGG-19 included, as a folder that the catalog loads."""
        method = YtmtMethod(self.config, self.vgg)
        trained = unwrapped(self.networks["separator"]).state_dict()
        if self.settings.stage == 1:
            method.system.stage1.load_state_dict(trained)
        else:
            assert method.system.stage2 is not None
            method.system.stage1.load_state_dict(self.helpers["stage1"].state_dict())
            method.system.stage2.load_state_dict(trained)
        method.save_pretrained(folder)


def unwrapped(network: nn.Module) -> nn.Module:
    """The network inside the wrapper that the loop puts around it for several processes."""
    inner = getattr(network, "module", network)
    assert isinstance(inner, nn.Module)
    return inner


def training_samples(settings: Settings, folders: Mapping[str, Path]) -> Mixture:
    """The mixture of synthetic and real samples that the settings describe.

    Raises:
        RecipeError: a folder that is needed is missing or empty; names it.
    """
    data = settings.data
    geometry = JointGeometry(data.crop, data.scale, data.flip)
    ranges = ceilnet.Ranges(data.kernels, data.sigma, data.gamma)

    def behind_glass(clear: Array, mirrored: Array, random: Random) -> Triplet:
        return ceilnet.mix(clear, mirrored, ceilnet.draw(random, ranges=ranges))

    sources: list[Source] = []
    shares = [share for share in (data.synthetic_share, 1 - data.synthetic_share) if share > 0]
    if data.synthetic_share > 0:
        sources.append(photo_source(folders, data.photos, geometry, behind_glass, settings.seed))
    if data.synthetic_share < 1:
        folder = data_folder(folders, "real", data.real)
        sources.append(pair_source(folder, geometry, data.align, data.held_out_pairs))
    return Mixture(sources, shares, settings.seed)

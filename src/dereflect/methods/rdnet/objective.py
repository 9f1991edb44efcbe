"""How RDNet is trained: every column's layers are judged, two rates, a frozen classifier."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dereflect.data.folders import data_folder
from dereflect.data.mixture import Mixture, Source
from dereflect.data.sources import pair_source, photo_source
from dereflect.data.synthesis import rdnet as rule
from dereflect.data.synthesis.triplet import Random, Triplet
from dereflect.errors import RecipeError
from dereflect.images.picture import Array
from dereflect.methods.objective import Batch, Moment, Objective, Turn, since
from dereflect.methods.rdnet.method import RDNetMethod, RDNetOptions, from_path
from dereflect.methods.rdnet.network import RDNet
from dereflect.methods.rdnet.official import classifier_state
from dereflect.methods.rdnet.optimiser import build_optimizer
from dereflect.methods.rdnet.settings import Settings, read_settings
from dereflect.nn.vgg import Vgg19, load_vgg19
from dereflect.weights import check_keys, read_checkpoint


class RDNetObjective(Objective):
    """One network, one optimizer; the loss is the weighted sum of `Criteria.terms` over the columns."""

    def __init__(self, settings: Mapping[str, Any], folders: Mapping[str, Path]) -> None:
        super().__init__()
        self.settings = read_settings(settings)
        self.criteria = self.settings.criteria
        self.samples = training_samples(self.settings, folders)
        self.vgg: Vgg19 | None = None
        if self.criteria.perceptual:
            self.vgg = load_vgg19(self.settings.vgg, self.criteria.vgg_taps)
            self.helpers["vgg"] = self.vgg
        network = fresh_network(self.settings)
        self.networks["separator"] = network
        self.optimizers["separator"] = build_optimizer(network, self.settings.optimiser)

    def turns(self, batch: Batch, moment: Moment) -> Iterator[Turn]:
        """See `Objective.turns`; the batch holds blended, transmission and reflection, (B, 3, H, W) each."""
        outputs = self.networks["separator"](batch["blended"], save_memory=self.settings.save_memory)
        terms = self.criteria.sums(outputs, (batch["transmission"], batch["reflection"]), self.vgg)
        total = torch.stack(list(terms.values())).sum()
        yield Turn("separator", total, {name: term.detach() for name, term in terms.items()})

    def learning_rate(self, name: str, moment: Moment) -> float:
        """The rate of all but the backbone, whose own is a fixed factor of it."""
        choices = self.settings.optimiser
        return choices.learning_rate * since(choices.steps, moment.epoch, 1.0)

    def export(self, folder: str) -> None:
        """Write the network trained so far, classifier included, as a folder that the catalog loads."""
        network = self.plain("separator")
        with torch.device("meta"):
            method = RDNetMethod(network.config)
        method.network = network
        method.save_pretrained(folder)


def fresh_network(settings: Settings) -> RDNet:
    """The network that training starts from.

    Raises:
        RecipeError: a start that is another network than the settings ask for.
        InputError, ModelError: a file that cannot be read, or keys that do not fit.
    """
    config = settings.config
    if settings.start:
        method = from_path(Path(settings.start).expanduser(), RDNetOptions())
        if method.config != config:
            raise RecipeError(
                "settings.start", f"{settings.start} is another network than settings.network asks for"
            )
        return method.network.train()
    network = RDNet(config)
    if settings.initialisation == "truncated_normal":
        start_small(network)
    if settings.backbone:
        load_into(network.baseball, read_checkpoint(Path(settings.backbone).expanduser()), settings.backbone)
    if settings.classifier and config.prompt != "none":
        content = read_checkpoint(Path(settings.classifier).expanduser())
        state = classifier_state(content, settings.classifier)
        if config.prompt == "map":  # takes the features before the layer that makes six numbers
            state = {key: value for key, value in state.items() if not key.startswith("head.")}
        load_into(network.classifier, state, settings.classifier)
    return network.train()


def start_small(network: RDNet) -> None:
    """As the older code starts: normal of deviation 0.02, cut at two units, and no bias.

    Holds for the columns, the decoder and the prompt; backbone, classifier and adapters are left alone.
    """
    parts: list[nn.Module] = [*network.columns(), network.decoder_blocks]
    if network.config.prompt != "none":
        parts.append(network.prompt)
    for part in parts:
        for module in part.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02, a=-2.0, b=2.0)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


def load_into(module: nn.Module, state: Mapping[str, Any], source: str) -> None:
    """Load a state dict strictly.

    Raises:
        ModelError: keys or shapes differ; names the first five of each kind.
    """
    check_keys(module.state_dict(), state, source)
    module.load_state_dict(dict(state))


def training_samples(settings: Settings, folders: Mapping[str, Path]) -> Mixture:
    """The mixture of synthetic and real samples that the settings describe.

    Raises:
        RecipeError: a folder that is needed is missing or empty; names it.
    """
    data, ranges = settings.data, settings.data.synthesis.ranges

    def behind_glass(clear: Array, mirrored: Array, random: Random) -> Triplet:
        return rule.mix(clear, mirrored, rule.draw(random, ranges=ranges))

    def source(name: str) -> Source:
        if name == "synthetic":
            return photo_source(folders, data.photos, data.geometry, behind_glass, settings.seed)
        return pair_source(data_folder(folders, name, name), data.geometry, data.align, data.held_out_pairs)

    shares = {name: share for name, share in data.shares.items() if share}
    return Mixture([source(name) for name in shares], list(shares.values()), settings.seed)

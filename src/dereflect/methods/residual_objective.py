"""How networks that give transmission, reflection and a residual are trained: one optimizer, one loss."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from dereflect.methods.objective import Batch, Moment, Objective, Turn, since
from dereflect.methods.residual_samples import training_samples
from dereflect.methods.residual_settings import Settings
from dereflect.nn.vgg import Vgg19, load_vgg19


class ResidualObjective(Objective):
    """Training of one network by `Criteria`; subclasses say which network.

    Args:
        settings: validated.
        folders: of the data, by name.
    """

    settings: Settings

    def __init__(self, settings: Settings, folders: Mapping[str, Path]) -> None:
        super().__init__()
        self.settings, self.criteria = settings, settings.criteria
        self.samples = training_samples(settings.data, folders, settings.seed)
        self.vgg: Vgg19 | None = None
        if self.criteria.perceptual:
            self.vgg = load_vgg19(settings.vgg, self.criteria.vgg_taps)
            self.helpers["vgg"] = self.vgg
        network = self.fresh_network()
        choices = settings.optimiser
        self.networks["separator"] = network
        self.optimizers["separator"] = torch.optim.Adam(
            [parameter for parameter in network.parameters() if parameter.requires_grad],
            choices.learning_rate,
            betas=choices.betas,
            weight_decay=choices.weight_decay,
        )

    @abstractmethod
    def fresh_network(self) -> nn.Module:
        """The network that training starts from, in train mode."""

    def separate(self, blended: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Transmission, reflection and residual of a batch by ``self.networks["separator"]``."""
        found: tuple[Tensor, Tensor, Tensor] = self.networks["separator"](blended)
        return found

    def turns(self, batch: Batch, moment: Moment) -> Iterator[Turn]:
        """See `Objective.turns`; the batch holds blended, transmission and reflection, (B, 3, H, W) each."""
        terms = self.criteria.terms(self.separate(batch["blended"]), batch, self.vgg)
        total = torch.stack(list(terms.values())).sum()
        logs = {"total": total.detach()} | {name: term.detach() for name, term in terms.items()}
        yield Turn("separator", total, logs)

    def learning_rate(self, name: str, moment: Moment) -> float:
        """The rate of the last epoch mark that has been reached."""
        choices = self.settings.optimiser
        return choices.learning_rate * since(choices.steps, moment.epoch, 1.0)

"""What a method tells the training loop: its networks, its optimizers, its data and its losses.

The loop (`dereflect.training.trainer`) knows no loss and no network by name. An objective is a plain class:

    class MyObjective(Objective):
        def __init__(self, settings: Mapping, folders: Mapping[str, Path]): ...
        def turns(self, batch, progress):
            transmission, reflection = self.networks["separator"](batch["blended"])
            yield Turn("separator", loss, {"pixel": ...})
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

Batch = Mapping[str, Tensor]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Moment:
    """Where training stands when a batch is drawn or a step is taken. Counters start at 0."""

    step: int
    """Optimizer steps done."""
    epoch: int
    """Whole passes over the data done."""
    total_steps: int
    """Steps of the whole run."""


@dataclass(frozen=True)
class Turn:
    """One optimizer's share of a step: the loop back-propagates `loss` and steps that optimizer."""

    optimizer: str
    loss: Tensor
    logs: Mapping[str, Tensor | float] = field(default_factory=dict)


def since(marks: Mapping[int, Value], place: int, before: Value) -> Value:
    """The value of the last mark, e.g. an epoch, that `place` has reached; `before` where there is none."""
    reached = [mark for mark in marks if mark <= place]
    return marks[max(reached)] if reached else before


class Samples(Protocol):
    """Training samples addressed by number, so that a resumed run draws exactly what an unbroken one would.

    ``draw(epoch, index)`` must depend on its arguments and the seed alone: never on global random state.
    """

    def __len__(self) -> int:
        """Samples in an epoch."""
        ...

    def draw(self, epoch: int, index: int) -> dict[str, Tensor]:
        """One unbatched sample in [0, 1], e.g. ``{"blended": (3, H, W), "transmission": ...}``."""
        ...


class Objective:
    """Base of every objective. Subclasses fill the attributes in ``__init__`` and implement `turns`.

    The loop wraps each network for the device and the number of processes and puts it back into `networks`
    under its name, so `turns` must always reach networks through ``self.networks``. Frozen helpers (a VGG, a
    depth net) go into `helpers`: they are moved to the device and put in eval mode, but are neither wrapped,
    trained nor checkpointed.
    """

    networks: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]
    helpers: dict[str, nn.Module]
    samples: Samples
    averaged: str | None = None
    """Name of the network of which an exponential moving average is kept (see `Schedule.ema`)."""

    shuffled = True
    """Whether each epoch takes its samples in a random order; else in that of their numbers."""

    unused_parameters = False
    """Whether some parameters take no part in some steps (data-parallel training must then look for them)."""

    def __init__(self) -> None:
        self.networks, self.optimizers, self.helpers = {}, {}, {}

    def plain(self, name: str) -> Any:
        """The network `name` without the wrapper that the loop puts around it for several processes."""
        network: Any = self.networks[name]
        while hasattr(network, "module"):
            network = network.module
        return network

    def turns(self, batch: Batch, moment: Moment) -> Iterator[Turn]:
        """Compute the losses of one step, a `Turn` for each optimizer in the order they are to be stepped.

        The loop has stepped a turn's optimizer and cleared all gradients when it asks for the next turn.
        Random numbers may come from torch's global generator: the loop seeds it by (seed, step, rank) before
        each call.
        """
        raise NotImplementedError

    def learning_rate(self, name: str, moment: Moment) -> float | None:
        """Learning rate of optimizer `name` now; None leaves it as it is."""
        return None

    def collate(self, samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Stack samples into a batch; override where synthesis is cheaper on the whole batch."""
        return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}

    def validate(self) -> dict[str, float]:
        """Optional measurement, called at checkpoints with the averaged weights (if any) in place."""
        return {}

    def pictures(self) -> dict[str, Tensor]:
        """Optional pictures to look at, (3, H, W) in [0, 1] by name, shown in TensorBoard at checkpoints."""
        return {}

    def export(self, folder: str) -> None:
        """Write the deployable method (config.json + model.safetensors) from the current weights."""
        raise NotImplementedError

    def extra_state(self) -> dict[str, Any]:
        """State beyond networks and optimizers that an exact resume needs (tensors and plain values only)."""
        return {}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        """Put back what `extra_state` returned."""

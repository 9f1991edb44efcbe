"""Exponential moving average of a network's weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn


class MovingAverage:
    """Average of the trainable weights of `network`.

    Its decay grows in, so that early weights are forgotten fast.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network, self.decay = network, decay
        self.begin()

    def begin(self) -> None:
        """Start from the present weights."""
        trained = ((name, p) for name, p in self.network.named_parameters() if p.requires_grad)
        self.shadow = {name: p.detach().clone() for name, p in trained}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the present weights; `step` counts from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        names = [name for name, p in self.network.named_parameters() if name in self.shadow]
        present = dict(self.network.named_parameters())
        torch._foreach_lerp_(
            [self.shadow[name] for name in names], [present[name].detach() for name in names], 1 - decay
        )

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the averaged weights into the network for the time of the context."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, parameter in self.network.named_parameters():
            if name in self.shadow:
                present = parameter.detach().clone()
                parameter.copy_(self.shadow[name])
                self.shadow[name].copy_(present)

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged weights by name."""
        return dict(self.shadow)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state_dict` returned."""
        for name, tensor in state.items():
            self.shadow[name].copy_(tensor)

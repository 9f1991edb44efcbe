"""Whether a compiled network trains as the network itself does.

A compiler's mistake in a gradient is silent: the losses fall, only less far. Inductor of PyTorch 2.13 makes
one on a CPU (see `dereflect.nn.enlarging`), so that the first batch of every compiled training is computed
both ways.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

from dereflect.errors import first_line
from dereflect.methods.objective import Batch, Moment, Objective

LARGEST_ERROR = 0.5
"""Of a weight's gradient, over its own length: far above bfloat16's, and a lost gradient has 1."""
NEGLIGIBLE = 1e-2
"""Gradients shorter than this share of the longest one are not judged: rounding is all of some of them."""
FORGIVEN = 0.02
"""Share of weights that may be wrong: sums over a picture lose themselves in bfloat16 for a few."""

_log = logging.getLogger(__name__)
Backward = Callable[[Tensor], None]
Stance = Literal["default", "force_eager"]


def stance(objective: Objective, batch: Batch, moment: Moment, backward: Backward) -> Stance:
    """How `torch.compile` is to be taken.

    Not at all, with a warning, where it fails or its gradients are other ones.
    """
    with torch.compiler.set_stance("force_eager"):
        own = _gradients(objective, batch, moment, backward)
    try:
        compiled = _gradients(objective, batch, moment, backward)
    except TorchDynamoException as error:  # e.g. no C++ compiler, or no Triton
        dict(_taken(objective.networks))  # what a backward pass has left before it failed
        reason = first_line(getattr(error, "inner_exception", error))
        _log.warning("compiling failed (%s); training goes on uncompiled", reason)
        return "force_eager"
    wrong = [name for turn, other in zip(own, compiled, strict=True) for name in differing(turn, other)]
    if len(wrong) <= FORGIVEN * sum(map(len, own)):
        return "default"
    reason = "compiled, the gradients of %d weights are wrong, e.g. of %s; training goes on uncompiled"
    _log.warning(reason, len(wrong), wrong[0])
    return "force_eager"


def differing(own: Mapping[str, Tensor], compiled: Mapping[str, Tensor]) -> list[str]:
    """Names of weights whose compiled gradient is another one than their own, beyond rounding."""
    longest = max((float(gradient.norm()) for gradient in own.values()), default=0.0)
    wrong = []
    for name, gradient in own.items():
        length = float(gradient.norm())
        if not NEGLIGIBLE * longest < length < math.inf:
            continue
        other = compiled.get(name)
        # Not "greater than": a gradient that is not a number is wrong too.
        if other is None or not float((other - gradient).norm()) <= LARGEST_ERROR * length:
            wrong.append(name)
    return wrong


def _gradients(
    objective: Objective, batch: Batch, moment: Moment, backward: Backward
) -> list[dict[str, Tensor]]:
    """Gradients of each turn by name; networks and objective are left as they were."""
    found = []
    torch.manual_seed(0)
    with _kept_state(objective):
        for turn in objective.turns(batch, moment):
            backward(turn.loss)
            found.append(dict(_taken(objective.networks)))
    return found


def _taken(networks: Mapping[str, nn.Module]) -> Iterator[tuple[str, Tensor]]:
    """The gradients of all weights, which lose them."""
    for name, network in networks.items():
        for place, weight in network.named_parameters():
            if weight.grad is not None:
                yield f"{name}.{place}", weight.grad
                weight.grad = None


@contextlib.contextmanager
def _kept_state(objective: Objective) -> Iterator[None]:
    """Put back what a step moves besides weights: running statistics, memories, the objective's own state."""
    buffers = [buffer for network in objective.networks.values() for buffer in network.buffers()]
    kept, extra = [buffer.clone() for buffer in buffers], copy.deepcopy(objective.extra_state())
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in zip(buffers, kept, strict=True):
                buffer.copy_(before)
        objective.load_extra_state(extra)

"""Strokes as benchmarks/hints.py simulates them: where the error is, of the right kind, and they help."""

import hints
import numpy as np
import torch

from dereflect.inference.guided import guided
from dereflect.inference.prepare import Layers


def pair() -> tuple[torch.Tensor, torch.Tensor, Layers]:
    """A scene under a mirrored bar that was not found; on the right, scene was taken for reflection."""
    ramp = torch.linspace(0.2, 0.5, 96)[None, :, None]
    truth = ramp.expand(3, 96, 128).clone()
    photo, found = truth.clone(), truth.clone()
    photo[:, 30:50, 20:50] += 0.3
    found[:, 30:50, 20:50] += 0.3
    found[:, 60:80, 90:110] -= 0.15
    return photo, truth, Layers(found, (photo - found).clamp(0, 1))


def test_a_stroke_lies_on_the_largest_error_and_says_what_it_is():
    photo, truth, layers = pair()
    error, done = hints.signed_error(photo, truth, layers.transmission), np.zeros((96, 128), bool)
    first, sign = hints.draw(error, done, np.random.default_rng(0))
    assert sign == 1  # reflection was left
    assert first[28:52, 18:52].sum() > 0.9 * first.sum() > 0
    error[:, :60] = 0
    second, sign = hints.draw(error, done, np.random.default_rng(0))
    assert sign == -1  # scene was taken
    assert second[58:82, 88:112].sum() > 0.9 * second.sum() > 0


def test_strokes_bring_the_result_nearer_to_the_truth():
    photo, truth, layers = pair()
    before, *after = hints.play(photo, truth, layers, guided, seed=0)
    assert len(after) == 3
    assert after[1] > before + 1

"""The default model on pairs that training never sees: numbers for the log, pictures for the eye."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dereflect.data.crops import decode
from dereflect.data.pairs import Pair, read_pairs
from dereflect.images.fidelity import unit_psnr
from dereflect.images.tensors import to_tensor
from dereflect.methods.default.network import DefaultNetwork
from dereflect.methods.default.settings import Settings
from dereflect.methods.objective import Samples


def held_out_sets(settings: Settings, folder: Path) -> dict[str, list[Pair]]:
    """Every set of pairs that is only measured, by name."""
    sets: dict[str, list[Pair]] = {}
    if settings.pairs and settings.held_out_pairs:
        found = read_pairs(folder / settings.pairs, check_sizes=False)
        sets["pairs"] = [pair for pair in found if pair.name in settings.held_out_pairs]
    for name in settings.validate_on:
        sets[name] = read_pairs(folder / name, check_sizes=False)[: settings.validate_at_most]
    return sets


def measure(network: DefaultNetwork, sets: dict[str, list[Pair]]) -> dict[str, float]:
    """Mean PSNR of the transmission, and its gain over the untouched photo, of every set."""
    device = next(network.parameters()).device
    results: dict[str, float] = {}
    for name, pairs in sets.items():
        scores = []
        for pair in pairs:
            blended, truth = to_tensor(decode(pair.blended)), to_tensor(decode(pair.transmission))
            if truth.shape != blended.shape:
                continue
            with torch.no_grad():
                found = separate_padded(network, blended[None].to(device))
            after = unit_psnr(found.clamp(0, 1)[0].cpu(), truth)
            scores.append((after, unit_psnr(blended, truth)))
        means = np.mean(scores, axis=0)
        results[f"{name}_psnr"], results[f"{name}_gain"] = float(means[0]), float(means[0] - means[1])
    return results


def look_at(network: DefaultNetwork, samples: Samples, count: int = 4) -> dict[str, Tensor]:
    """Fixed crops: blended, transmission, its truth, reflection and its truth beside one another."""
    device = next(network.parameters()).device
    shown = {}
    for index in range(count):
        crop = samples.draw(0, index)
        with torch.no_grad():
            transmission, reflection = (layer[0].cpu() for layer in network(crop["blended"][None].to(device)))
        row = [crop["blended"], transmission, crop["transmission"], reflection, crop["reflection"]]
        shown[f"crop_{index}"] = torch.cat(row, dim=2)
    return shown


def separate_padded(network: torch.nn.Module, blended: Tensor) -> Tensor:
    """The transmission of a batch of any size, padded by reflection to a multiple of 32 and cropped back."""
    height, width = blended.shape[-2:]
    padded = F.pad(blended, (0, -width % 32, 0, -height % 32), mode="reflect")
    transmission: Tensor = network(padded)[0]
    return transmission[..., :height, :width]

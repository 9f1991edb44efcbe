"""What a network in training does on the sets that are held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from dereflect.data.crops import decode
from dereflect.data.pairs import Pair, read_pairs
from dereflect.images.fidelity import align, unit_psnr
from dereflect.images.tensors import to_tensor
from dereflect.methods.default.crops import GlassCrops, develop
from dereflect.methods.default.network import DefaultNetwork
from dereflect.methods.default.settings import Settings

WORSE = 0.5
"""A photo that loses more than so many dB has been made worse."""


def held_out_sets(settings: Settings, folder: Path) -> dict[str, list[Pair]]:
    """The sets that are measured, by name: the held-out pairs, and `validate_on`."""
    sets: dict[str, list[Pair]] = {}
    if settings.held_out_pairs:
        found = [pair for name in settings.pairs for pair in read_pairs(folder / name, check_sizes=False)]
        if own := [pair for pair in found if pair.name in settings.held_out_pairs]:
            sets["pairs"] = own
    for name in settings.validate_on:
        sets[Path(name).name] = read_pairs(folder / name, check_sizes=False)[: settings.validate_at_most]
    return sets


def measure(network: DefaultNetwork, pairs: list[Pair], side: int) -> dict[str, float]:
    """PSNR of a set's transmissions in dB, and what it gains over the untouched photo.

    Returns:
        ``psnr``, the mean; ``gain`` and ``median``, mean and median gain; ``aligned``, the mean gain after
        the best gain and offset of each channel; ``worse``, the share that loses more than `WORSE` dB.
        Nothing where no pair has pictures of one size.
    """
    device = next(network.parameters()).device
    rows = []
    for pair in pairs:
        blended, truth = (_fitted(path, side) for path in (pair.blended, pair.transmission))
        if truth.shape != blended.shape:
            continue
        with torch.no_grad():
            found = separate_padded(network, blended[None].to(device)).clamp(0, 1)[0].cpu()
        after = unit_psnr(found, truth)
        rows.append(
            (after, after - unit_psnr(blended, truth), _aligned(found, truth) - _aligned(blended, truth))
        )
    if not rows:
        return {}
    scores = np.array(rows).T
    return {
        "psnr": float(scores[0].mean()),
        "gain": float(scores[1].mean()),
        "median": float(np.median(scores[1])),
        "aligned": float(scores[2].mean()),
        "worse": float((scores[1] < -WORSE).mean()),
    }


def separate_padded(network: torch.nn.Module, blended: Tensor) -> Tensor:
    """The transmission of a batch of any size, padded by reflection to a multiple of 32 and cropped back."""
    height, width = blended.shape[-2:]
    padded = F.pad(blended, (0, -width % 32, 0, -height % 32), mode="reflect")
    transmission: Tensor = network(padded)[0]
    return transmission[..., :height, :width]


def look_at(network: DefaultNetwork, samples: GlassCrops, count: int = 4) -> dict[str, Tensor]:
    """Fixed crops: blended, transmission, its truth, reflection and its truth beside one another."""
    device = next(network.parameters()).device
    shown = {}
    for index in range(count):
        sample = {key: value[None].to(device) for key, value in samples.draw(0, index).items()}
        with torch.no_grad():
            crop = develop(sample)
            transmission, reflection = network(crop["blended"])[:2]
        row = [crop["blended"], transmission, crop["transmission"], reflection, crop["reflection"]]
        shown[f"crop_{index}"] = torch.cat([picture[0].cpu() for picture in row], dim=2)
    return shown


def _aligned(found: Tensor, truth: Tensor) -> float:
    """PSNR in dB after the best gain and offset of each channel."""
    target = truth.permute(1, 2, 0).numpy()
    return unit_psnr(align(found.permute(1, 2, 0).numpy(), target).clip(0, 1), target)


def _fitted(path: Path, side: int) -> Tensor:
    picture = decode(path)
    scale = side / max(picture.size)
    if scale < 1:
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    return to_tensor(picture)

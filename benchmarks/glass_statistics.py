"""How the synthesis of the default model compares with real photos through glass.

    python benchmarks/glass_statistics.py DATA [--samples 400]

DATA holds `photos/` and `pairs/` as in the recipe `default`. Prints quartiles over crops of what tells glass
from no glass, for real pairs and for synthetic ones, and how far apart the two are.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dereflect.cli.scripts import run_script
from dereflect.data.glass.render import blur
from dereflect.methods.default.crops import GlassCrops, develop
from dereflect.methods.default.settings import Settings
from dereflect.training.recipe import load_recipe


def describe(crop: dict[str, Tensor]) -> dict[str, float]:
    """Numbers of one crop: what the glass added, took away, where, how blurred, and in what colour."""
    blended, transmission = crop["blended"], crop["transmission"]
    change = blended - transmission
    added, lost = change.clamp(min=0), (-change).clamp(min=0)
    grey = change.mean(0)
    fine = change - _blurred(change, 2.0)
    by_channel = change.mean((1, 2))
    slope = _slope(transmission.mean(0), blended.mean(0))
    return {
        "mean change": float(change.mean()),
        "mean |change|": float(change.abs().mean()),
        "share brighter by 0.05": float((grey > 0.05).float().mean()),
        "share darker by 0.05": float((grey < -0.05).float().mean()),
        "added, 99 %": float(np.quantile(added.mean(0).numpy(), 0.99)),
        "lost, 99 %": float(np.quantile(lost.mean(0).numpy(), 0.99)),
        "fine part of change": float(fine.std() / (change.std() + 1e-3)),
        "unevenness of change": float(_blurred(change, 12.0).std() / (change.abs().mean() + 1e-3)),
        "colour spread of change": float(by_channel.std() / (by_channel.abs().mean() + 1e-2)),
        "slope of I over T": slope,
        "white in I": float((blended.amin(0) > 0.98).float().mean()),
        "brightness of T": float(transmission.mean()),
        "contrast of T": float(transmission.mean(0).std()),
    }


def _blurred(change: Tensor, sigma: float) -> Tensor:
    return blur(change[None], torch.tensor([sigma]))[0]


def _slope(x: Tensor, y: Tensor) -> float:
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).mean() / (x.square().mean() + 1e-4))


def collect(source: GlassCrops, samples: int) -> dict[str, np.ndarray[Any, Any]]:
    """Quantities of `samples` crops, each an array."""
    rows = []
    for index in range(samples):
        crop = develop({key: value[None] for key, value in source.draw(0, index).items()})
        rows.append(describe({key: value[0] for key, value in crop.items()}))
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("overrides", nargs="*", help="KEY=VALUE of the recipe's settings")
    options = parser.parse_args()
    recipe = load_recipe(options.recipe, [f"data={options.data}", *options.overrides])
    found = {}
    for name, share in (("real", 1.0), ("synthetic", 0.0)):
        settings = {"real_share": share, "real_strength": 0.0, "grow": {}}
        values = dict(recipe.settings) | settings
        values["glass"] = dict(recipe.settings.get("glass", {})) | {"identity": 0.0}
        found[name] = collect(GlassCrops(Settings.model_validate(values), options.data), options.samples)
    print(f"{'':26s} {'real: 25 50 75 %':>26s} {'synthetic: 25 50 75 %':>26s}   overlap")
    for key in found["real"]:
        real, synthetic = found["real"][key], found["synthetic"][key]
        cells = [" ".join(f"{v:8.3f}" for v in np.quantile(x, (0.25, 0.5, 0.75))) for x in (real, synthetic)]
        print(f"{key:26s} {cells[0]} {cells[1]}   {_overlap(real, synthetic):.2f}")


def _overlap(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    """Common area of two histograms over 12 quantile bins of both together: 1 alike, 0 apart."""
    edges = np.unique(np.quantile(np.concatenate([a, b]), np.linspace(0, 1, 13)))
    p, q = (np.histogram(x, edges)[0] / len(x) for x in (a, b))
    return float(np.minimum(p, q).sum())


if __name__ == "__main__":
    run_script(main)

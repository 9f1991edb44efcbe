"""What simulated strokes gain: transmission after 0, 1, 3 and 10 of them, by two ways of spreading them.

    python benchmarks/hints.py FOLDER... [--model default] [--every 1]

Each FOLDER holds pairs, ``blended`` and ``transmission_layer`` with the same file names. Strokes are drawn
one after the other, as by a person who looks at the result: the next one lies where the blurred error is
largest, follows it for a fifth of the picture's longer side at most, is 2.5 % of the shorter side wide, and
trembles a little. It says "reflection" where the result is brighter than the truth and the photo is too, and
"scene" where it is darker and something was taken away; the truth is first brought to the result's gain and
offset.
Pictures are measured at the size that the network saw, by PSNR after the best gain and offset.

``walker`` is what the package does (`dereflect.inference.guided`). ``ridge`` predicts the map of strokes
instead by a regression, fitted to the strokes on random Fourier features of photo, layers and place.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from measured import add_option, record
from torch import Tensor

import dereflect
from dereflect.cli.scripts import run_script
from dereflect.data.glass.render import blur
from dereflect.images import read
from dereflect.images.fidelity import align, unit_psnr
from dereflect.images.resizing import reduced
from dereflect.images.tensors import to_tensor
from dereflect.inference.guided import SIDE, guided, moved
from dereflect.inference.prepare import Layers, Prepared
from dereflect.inference.strokes import Strokes

STEPS = (1, 3, 10)
Guide = Callable[[Tensor, Layers, Strokes], Layers]


def ridge(photo: Tensor, layers: Layers, strokes: Strokes) -> Layers:
    """Strokes spread by a ridge regression that is fitted to them; the rest as `guided`."""
    scale = min(1.0, SIDE / max(photo.shape[1:]))
    size = (round(photo.shape[1] * scale), round(photo.shape[2] * scale))
    look = F.interpolate(torch.cat([photo, *layers])[None], size=size, mode="area")[0]
    look = (look - look.mean((1, 2), keepdim=True)) / look.std((1, 2), keepdim=True).clamp(min=1e-4)
    rows, columns = (torch.linspace(-1, 1, side) for side in size)
    place = 5 * torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
    values = torch.cat([look / len(look) ** 0.5, place]).flatten(1).T
    generator = torch.Generator().manual_seed(0)
    waves = 1.5 * torch.randn(values.shape[1], 96, generator=generator)
    features = torch.cos(values @ waves + 2 * math.pi * torch.rand(96, generator=generator))
    reflection, scene = strokes.at(*size).flatten(1)
    touched = reflection + scene
    held = features * touched[:, None]
    others = features * (1 - touched.clamp(max=1))[:, None]
    left = held.T @ features / touched.sum() + 0.3 * others.T @ features / len(features)
    right = held.T @ (reflection - scene) / touched.sum()
    weights = torch.linalg.solve(left + 0.01 * torch.eye(96), right)
    return moved(photo, layers, (features @ weights).clamp(-1, 1).reshape(size))


METHODS: dict[str, Guide] = {"walker": guided, "ridge": ridge}


def signed_error(photo: Tensor, truth: Tensor, found: Tensor) -> Tensor:
    """(H, W): by how much reflection was left, or, below 0, scene was taken away."""
    known = torch.from_numpy(align(_last(truth), _last(found))).float().permute(2, 0, 1)
    error = (found - known).mean(0)
    there = (photo - known).mean(0).clamp(min=0)
    taken = (photo - found).abs().mean(0)
    return torch.where(error > 0, torch.minimum(error, there), -torch.minimum(-error, taken))


def draw(error: Tensor, done: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """One stroke.

    Args:
        error: (H, W), see `signed_error`.
        done: (H, W) bool, where strokes are already.

    Returns:
        (H, W) bool, and 1 for "reflection" or -1 for "scene".
    """
    height, width = error.shape
    short, long = min(height, width), max(height, width)
    smooth = blur(error[None, None], torch.tensor([0.025 * short]))[0, 0].numpy()
    smooth = np.where(done, 0, smooth)
    row, column = np.unravel_index(np.abs(smooth).argmax(), smooth.shape)
    sign = 1.0 if smooth[row, column] > 0 else -1.0
    peak, step = sign * smooth[row, column], 0.01 * short

    def worth(point: np.ndarray) -> float:
        y, x = (int(value) for value in np.rint(point))
        return sign * float(smooth[y, x]) if 0 <= y < height and 0 <= x < width else -1.0

    def ahead(angle: float) -> np.ndarray:
        return step * np.array([math.sin(angle), math.cos(angle)])

    start = np.array([row, column], float)
    angles = rng.uniform(0, math.pi) + np.arange(8) * math.pi / 8
    along = max(angles, key=lambda angle: worth(start + 4 * ahead(angle)) + worth(start - 4 * ahead(angle)))
    points = [start]
    for half in (along, along + math.pi):
        point, angle = start, half
        for _ in range(round(0.1 * long / step)):
            turns = [angle + turn for turn in (-0.5, -0.25, 0.0, 0.25, 0.5)]
            angle = max(turns, key=lambda turn: worth(point + 2 * ahead(turn))) + rng.normal(0, 0.1)
            point = point + ahead(angle)
            if worth(point) < 0.35 * peak:
                break
            points.append(point)
    rows, columns = np.mgrid[:height, :width]
    marked = np.zeros((height, width), bool)
    for y, x in points:
        marked |= (rows - y) ** 2 + (columns - x) ** 2 <= (0.0125 * short) ** 2
    return marked, sign


def play(photo: Tensor, truth: Tensor, layers: Layers, method: Guide, seed: int) -> list[float]:
    """Aligned PSNR of the transmission without strokes and after each number of `STEPS`."""
    small = [F.avg_pool2d(layer[None], 2)[0] for layer in (photo, truth)]
    rng, found = np.random.default_rng(seed), layers
    said = Strokes(*(np.zeros(small[0].shape[1:], bool) for _ in range(2)))
    scores = [_score(layers.transmission, truth)]
    for number in range(1, max(STEPS) + 1):
        error = signed_error(*small, F.avg_pool2d(found.transmission[None], 2)[0])
        stroke, sign = draw(error, said.reflection | said.scene, rng)
        if sign > 0:
            said = said._replace(reflection=said.reflection | stroke)
        else:
            said = said._replace(scene=said.scene | stroke)
        found = method(photo, layers, said)
        if number in STEPS:
            scores.append(_score(found.transmission, truth))
    return scores


def _last(layer: Tensor) -> np.ndarray:
    return layer.permute(1, 2, 0).numpy()


def _score(found: Tensor, truth: Tensor) -> float:
    aligned = np.clip(align(_last(found), _last(truth)), 0, 1).astype(np.float32)
    return unit_psnr(aligned, _last(truth))


def _truth(path: Path, analysis: Prepared) -> Tensor:
    picture = read(path)
    height, width = analysis.layers.transmission.shape[1:]  # type: ignore[union-attr]
    same = (picture.height, picture.width) == (height, width)
    return to_tensor(picture.pixels if same else reduced(picture, height, width))


def seconds_of_a_change(separator: dereflect.Separator) -> tuple[float, float]:
    """Processor seconds at one megapixel: of the network, and of new strokes up to both full layers."""
    noise = np.random.default_rng(0).integers(0, 256, (27, 36, 3), dtype=np.uint8)
    photo = noise.repeat(32, 0).repeat(32, 1)
    strokes = Strokes(np.zeros((108, 144), bool), np.zeros((108, 144), bool))
    strokes.reflection[20:24, 10:60] = strokes.scene[70:74, 80:130] = True
    clock = time.process_time()
    analysis = separator.analyse(photo)
    network = time.process_time() - clock
    separator.develop(analysis, strokes=strokes)
    clock = time.process_time()
    separator.develop(analysis, strokes=strokes)
    return network, time.process_time() - clock


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--every", type=int, default=1, help="measure every so-many-th pair")
    parser.add_argument("--method", choices=METHODS, action="append", help="both, if none is given")
    add_option(parser, "hints")
    options = parser.parse_args()
    separator = dereflect.load(options.model, dtype="float32")
    table = []
    for folder in options.folders:
        paths = sorted((folder / "blended").iterdir())[:: options.every]
        methods = options.method or list(METHODS)
        scores: dict[str, list[list[float]]] = {name: [] for name in methods}
        for seed, path in enumerate(paths):
            analysis = separator.analyse(path)
            assert analysis.seen is not None
            assert analysis.layers is not None
            truth = _truth(folder / "transmission_layer" / path.name, analysis)
            for name in methods:
                scores[name].append(play(analysis.seen, truth, analysis.layers, METHODS[name], seed))
        for name, found in scores.items():
            gains = np.asarray(found)[:, 1:] - np.asarray(found)[:, :1]
            row = {"set": folder.name, "pairs": len(paths), "method": name}
            row |= {"none": round(float(np.mean(found, 0)[0]), 2)}
            for number, gain in zip(STEPS, gains.T, strict=True):
                row |= {
                    f"gain{number}": round(float(gain.mean()), 2),
                    f"worse{number}": int((gain < 0).sum()),
                }
            table.append(row)
            print(row, flush=True)
    network, change = seconds_of_a_change(separator)
    print(f"one megapixel: network {network:.2f} s, change of strokes {change:.2f} s of processor time")
    seconds = {"network_seconds": round(network, 2), "change_seconds": round(change, 2)}
    record(options, {"rows": table, **seconds}, "float32")


if __name__ == "__main__":
    run_script(main)

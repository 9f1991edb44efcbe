"""Does the exchange make training faster? The claim of figure 3 of the YTMT paper, on a narrow network.

    PYTHONPATH=src python benchmarks/ytmt_exchange.py --photos FOLDER [--steps 300] [--out
    docs/notes/ytmt_exchange]

Trains the U-shaped network without (N) and with exchange (P: positive parts only, A, C) from the recipe
the recipe ytmt_ucs, narrowed (width 8, no hypercolumn, 48-pixel crops, synthetic pairs alone, pixel,
reconstruction and exclusion terms alone), with three seeds each. A seed fixes the initial weights and all
data, which are the same for every exchange. Writes OUT.json (every loss) and OUT.png (training error against
steps).
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
import yaml
from measured import add_option, record
from PIL import Image, ImageDraw

from dereflect import recipes
from dereflect.cli.scripts import run_script
from dereflect.training.recipe import parse_recipe
from dereflect.training.trainer import prepare

RECIPE = "ytmt_ucs"
NAMES = {"N": "no exchange", "P": "positive parts only", "A": "additive", "C": "concatenating"}
COLOURS = {"N": (120, 120, 120), "P": (60, 120, 200), "A": (220, 120, 20), "C": (30, 140, 60)}
SMOOTHING = 40


def narrowed(exchange, seed, photos, steps, output):
    content = yaml.safe_load(recipes.find(RECIPE).read_text(encoding="utf-8"))
    settings = content["settings"]
    settings["network"] |= {"exchange": exchange, "width": 8, "hypercolumn": False}
    settings["data"] |= {"crop": 48, "scale": [64, 96], "synthetic_share": 1.0}
    settings["discriminator"]["width"] = 32
    settings["optimiser"]["learning_rate"] = 5e-4
    settings["variants"]["code"]["criteria"] |= {"perceptual_transmission": 0, "adversarial": 0}
    schedule = {"steps": steps, "batch_size": 4, "seed": seed, "device": "cpu", "log_every": 1, "workers": 1}
    return content | {"schedule": schedule, "data": {"photos": str(photos)}, "output": str(output)}


def train(exchange, seed, photos, steps):
    with tempfile.TemporaryDirectory() as folder:
        prepare(parse_recipe(narrowed(exchange, seed, photos, steps, folder))).run()
        records = [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text().splitlines()]
    return {
        key: [record[key] for record in records]
        for key in ("pixel_transmission", "pixel_reflection", "total")
    }


def smoothed(values):
    """Running mean over the last `SMOOTHING` steps."""
    return [statistics.fmean(values[max(0, i - SMOOTHING + 1) : i + 1]) for i in range(len(values))]


def plot(results, key, out):
    """One thin line a seed and one thick line, their mean, for each exchange."""
    width, height, left, bottom = 900, 560, 70, 50
    image = Image.new("RGB", (2 * width, 2 * height), "white")  # drawn twice as large, for smooth lines
    draw = ImageDraw.Draw(image)
    curves = {
        kind: [smoothed(run[key])[SMOOTHING:] for run in runs.values()] for kind, runs in results.items()
    }
    flat = [value for runs in curves.values() for run in runs for value in run]
    low, high, steps = min(flat), max(flat), len(next(iter(curves.values()))[0])

    def at(step, value):
        x = left + step / (steps - 1) * (width - left - 30)
        y = height - bottom - (value - low) / (high - low) * (height - bottom - 40)
        return 2 * x, 2 * y

    for mark in range(6):
        value = low + (high - low) * mark / 5
        x, y = at(0, value)
        draw.line([(x, y), at(steps - 1, value)], fill=(225, 225, 225), width=2)
        draw.text((20, y - 12), f"{value:.3f}", fill="black", font_size=24)
        step = round((steps - 1) * mark / 5)
        x, _ = at(step, low)
        draw.text((x - 20, 2 * (height - bottom) + 14), str(step + SMOOTHING), fill="black", font_size=24)
    draw.text(
        (2 * left, 14),
        f"{key}: mean of the last {SMOOTHING} steps, against steps",
        fill="black",
        font_size=28,
    )
    for row, (kind, runs) in enumerate(curves.items()):
        pale = tuple((c + 2 * 255) // 3 for c in COLOURS[kind])
        for run in runs:
            draw.line([at(step, value) for step, value in enumerate(run)], fill=pale, width=2)
        mean = [statistics.fmean(values) for values in zip(*runs, strict=True)]
        draw.line([at(step, value) for step, value in enumerate(mean)], fill=COLOURS[kind], width=6)
        draw.text((1350, 80 + 40 * row), f"{kind}  {NAMES[kind]}", fill=COLOURS[kind], font_size=30)
    image.resize((width, height), Image.Resampling.LANCZOS).quantize(32).save(out, optimize=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--exchanges", nargs="+", default=list(NAMES))
    parser.add_argument("--out", type=Path, default=Path("ytmt_exchange"))
    add_option(parser, "ytmt.exchange")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = {kind: {} for kind in options.exchanges}
    begin = time.perf_counter()
    for seed in options.seeds:
        for kind in options.exchanges:
            run = train(kind, seed, options.photos, options.steps)
            results[kind][str(seed)] = run
            tail = statistics.fmean(run["pixel_transmission"][-SMOOTHING:])
            print(f"{time.perf_counter() - begin:6.0f} s  seed {seed}  {kind}: {tail:.4f}", flush=True)
    content = {"steps": options.steps, "seeds": options.seeds, "results": results}
    options.out.with_suffix(".json").write_text(json.dumps(content), encoding="utf-8")
    plot(results, "pixel_transmission", options.out.with_suffix(".png"))
    for kind, runs in results.items():
        finals = [statistics.fmean(run["pixel_transmission"][-SMOOTHING:]) for run in runs.values()]
        print(f"{kind}: {statistics.fmean(finals):.4f} +- {statistics.stdev(finals):.4f}  {NAMES[kind]}")
    rows = [row(kind, runs, options.steps // 2) for kind, runs in results.items()]
    record(options, {"steps": options.steps, "rows": rows}, "one thread")


def row(kind, runs, last):
    """What `--record` keeps: means over the last half of the steps, for each seed."""
    kept = {"exchange": NAMES[kind]}
    for key, name, digits in (("pixel_transmission", "pixel", 4), ("total", "whole", 3)):
        kept |= {
            f"{name}{seed}": round(statistics.fmean(run[key][-last:]), digits) for seed, run in runs.items()
        }
    return kept


if __name__ == "__main__":
    run_script(main)

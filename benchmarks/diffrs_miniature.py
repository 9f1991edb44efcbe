"""The paper's ablation of DiffRS in miniature: everything trained from nothing, on a CPU, in some minutes.

    python benchmarks/diffrs_miniature.py --seeds 0 1 2 --output miniature

Draws pictures of its own, trains an autoencoder on them, then with the shipped trainings a synthesis network
and, for each seed, two UNets (with and without cross-layer attention), and measures held-out 64x64 mixtures:
PSNR of both layers for the base, + cross-layer attention (C, trained with it), + optimisation at test time
(O), + disjoint sampling (D). The decoder's fusion is left out (w = 0). Numbers of this size say that the
parts work together, not how good the method is.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffrs_parts import base_scheduler, two_level_unet
from diffusers import AutoencoderKL, UNet2DConditionModel
from measured import add_option, record
from PIL import Image, ImageDraw, ImageFilter

from dereflect.cli.scripts import run_script
from dereflect.images.fidelity import unit_psnr as psnr
from dereflect.methods.diffrs.autoencoder import decode, encode
from dereflect.methods.diffrs.method import load_pipeline
from dereflect.methods.diffrs.prompts import PromptEmbeddings
from dereflect.methods.diffrs.settings import DiffRSSettings
from dereflect.methods.diffrs.starting_point import assemble
from dereflect.methods.diffrs.synthesis import LatentSynthesis
from dereflect.methods.diffrs.training_crops import CropSettings, LayerCrops
from dereflect.training.recipe import parse_recipe
from dereflect.training.trainer import prepare

SIZE = 64
CROPS = {"crop": SIZE, "held_out_every": 5, "smallest": 1.0, "short_side": 80}
ROWS = {
    "base": ("apart", {"optimisation": False, "disjoint": "off", "attention": False}),
    "+C": ("joined", {"optimisation": False, "disjoint": "off"}),
    "+C+O": ("joined", {"disjoint": "off"}),
    "+C+O+D (code)": ("joined", {"disjoint": "code"}),
    "+C+O+D (paper)": ("joined", {"disjoint": "paper"}),
}


def draw_photos(folder: Path, count: int = 400, seed: int = 0) -> None:
    """Pictures of a simple kind: a few bright, slightly soft shapes on a dark ground."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        random = np.random.default_rng((seed, index))
        ground = tuple(int(value) for value in random.integers(0, 60, 3))
        picture = Image.new("RGB", (240, 240), ground)
        pen = ImageDraw.Draw(picture)
        for _ in range(int(random.integers(1, 4))):
            colour = tuple(int(value) for value in random.integers(90, 256, 3))
            left, top = random.uniform(-30, 190, 2)
            width, height = random.uniform(70, 160, 2)
            box = (left, top, left + width, top + height)
            kind = int(random.integers(3))
            if kind == 0:
                pen.ellipse(box, fill=colour)
            elif kind == 1:
                pen.rectangle(box, fill=colour)
            else:
                tip = (left + width * random.uniform(), top)
                pen.polygon([tip, (left, top + height), (left + width, top + height)], fill=colour)
        soft = picture.filter(ImageFilter.GaussianBlur(3))
        soft.resize((80, 80), Image.Resampling.BOX).save(folder / f"{index:04d}.png")


def train_autoencoder(data: Path, steps: int, seed: int = 0) -> AutoencoderKL:
    """A small autoencoder (factor 4) on the photos and their mixtures, with latents of unit variance."""
    torch.manual_seed(seed)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 64, 64),
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=SIZE,
    ).to(memory_format=torch.channels_last)
    samples = LayerCrops(CropSettings(**CROPS, seed=seed), data)
    optimizer = torch.optim.Adam(vae.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        drawn = [samples.draw(0, step * 2 + index) for index in range(2)]
        layers = ("blended", "transmission", "reflection")
        image = torch.stack([sample[name] for sample in drawn for name in layers]) * 2 - 1
        with torch.autocast("cpu", torch.bfloat16):
            latent, _ = encode(vae, image, features=False)
            # A little noise in place of the KL term: latents must not hide detail in tiny differences.
            noisy = latent + 0.03 * latent.detach().std() * torch.randn_like(latent)
            found = decode(vae, noisy)
        loss = (found - image).square().mean() + 0.0001 * latent.square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    vae.eval().requires_grad_(False)
    with torch.no_grad():
        some = torch.stack([samples.draw(1, index)["blended"] for index in range(64)])
        latents = encode(vae, some * 2 - 1, features=False)[0]
    vae.register_to_config(scaling_factor=float(vae.config.scaling_factor / latents.std()))
    return vae


def fresh_unet(seed: int) -> UNet2DConditionModel:
    """Two levels, 16x16 without attention and 8x8 with it."""
    torch.manual_seed(seed)
    return two_level_unet(SIZE // 4, (64, 128), groups=8, attention=1)


def start(vae: AutoencoderKL, seed: int, synthesis: LatentSynthesis | None = None):
    """A pipeline with a fresh UNet."""
    torch.manual_seed(1)
    prompts = PromptEmbeddings.of(torch.randn(1, 4, 16), torch.randn(1, 4, 16))
    pipeline = assemble(fresh_unet(seed), vae, prompts, base_scheduler())
    if synthesis is not None:
        pipeline.register_modules(synthesis=synthesis)
    return pipeline


def train(part: str, model: Path, data: Path, output: Path, steps: int, batch: int, seed: int, **settings):
    """Run one of the shipped trainings; returns the folder of the trained pipeline."""
    recipe = parse_recipe(
        {
            "objective": f"diffrs-{part}",
            "data": str(data),
            "output": str(output),
            "settings": CROPS | {"model": str(model), "validation": {"pictures": 0}} | settings,
            "schedule": {
                "steps": steps,
                "batch_size": batch,
                "precision": "bfloat16",
                "clip_norm": 1.0,
                "ema": 0.99,
                "device": "cpu",
                "workers": 1,
                "seed": seed,
                "checkpoint_minutes": 2,  # a run that was stopped goes on from there
            },
        }
    )
    return prepare(recipe).run()


def measure(pipeline, data: Path, pictures: int, steps: int, **switches) -> tuple[float, float]:
    """Mean PSNR of transmission and reflection over held-out mixtures."""
    samples = LayerCrops(CropSettings(**CROPS), data, validation=True)
    drawn = [samples.draw(0, index) for index in range(pictures)]
    pipeline.set_progress_bar_config(disable=True)
    output = pipeline(
        torch.stack([sample["blended"] for sample in drawn]),
        settings=DiffRSSettings(steps=steps, resolution=SIZE, w=0.0, **switches),
        generator=[torch.Generator().manual_seed(index) for index in range(pictures)],
        output_type="pt",
    )
    return tuple(
        float(np.mean([psnr(found, sample[name]) for found, sample in zip(output[name], drawn, strict=True)]))
        for name in ("transmission", "reflection")
    )


def references(vae: AutoencoderKL, data: Path, pictures: int) -> dict[str, tuple[float, float]]:
    """What returning the input gives, and the ceiling that the autoencoder sets."""
    samples = LayerCrops(CropSettings(**CROPS), data, validation=True)
    drawn = [samples.draw(0, index) for index in range(pictures)]
    rows = {}
    for name, find in (
        ("input", lambda sample, layer: sample["blended"]),
        ("autoencoder alone", lambda sample, layer: through(vae, sample[layer])),
    ):
        rows[name] = tuple(
            float(np.mean([psnr(find(sample, layer), sample[layer]) for sample in drawn]))
            for layer in ("transmission", "reflection")
        )
    return rows


@torch.no_grad()
def through(vae: AutoencoderKL, picture: torch.Tensor) -> torch.Tensor:
    return ((decode(vae, encode(vae, picture[None] * 2 - 1, False)[0])[0] + 1) / 2).clamp(0, 1)


def run(
    output: Path,
    seeds: list[int],
    autoencoder_steps: int = 600,
    synthesis_steps: int = 150,
    unet_steps: int = 800,
    batch: int = 8,
    pictures: int = 24,
    sampling_steps: int = 20,
    rows: Sequence[str] = tuple(ROWS),
    say=print,
) -> dict[str, list[tuple[float, float]]]:
    """Train and measure; returns PSNR of (transmission, reflection) for each row and seed."""
    begun = time.perf_counter()

    def tell(words: str) -> None:
        say(f"{time.perf_counter() - begun:6.0f} s  {words}")

    data = output / "data"
    draw_photos(data / "photos")
    begin = output / "start"
    if (begin / "model_index.json").is_file():  # go on with an interrupted run
        vae = load_pipeline(begin).vae
    else:
        vae = train_autoencoder(data, autoencoder_steps)
        start(vae, 0).save_pretrained(begin)
    results: dict[str, list[tuple[float, float]]] = {
        name: [row] * len(seeds) for name, row in references(vae, data, pictures).items()
    }
    tell(f"autoencoder trained: {results['autoencoder alone'][0]}, input {results['input'][0]}")
    trained = train(
        "synthesis", begin, data, output / "synthesis", synthesis_steps, batch, 0, learning_rate=1e-3
    )
    synthesis = load_pipeline(trained).synthesis
    tell("synthesis network trained")
    chosen = {name: ROWS[name] for name in rows}
    for name in chosen:
        results[name] = []
    for seed in seeds:
        pipelines = {}
        for kind in sorted({kind for kind, _ in chosen.values()}):
            folder = output / f"{kind}{seed}"
            if not (folder / "checkpoints").is_dir():
                start(vae, seed, synthesis).save_pretrained(folder / "start")
            pipelines[kind] = load_pipeline(
                train(
                    "unet",
                    folder / "start",
                    data,
                    folder,
                    unet_steps,
                    batch,
                    seed,
                    attention=kind == "joined",
                    learning_rate=1e-3,
                    warm_up=50,
                    decay_steps=unet_steps,
                    final_factor=0.05,
                    multi_resolution=0.0,
                )
            )
        for name, (kind, switches) in chosen.items():
            results[name].append(measure(pipelines[kind], data, pictures, sampling_steps, **switches))
            tell(f"seed {seed} {name}: {results[name][-1]}")
        (output / "results.json").write_text(json.dumps(results, indent=2))
    return results


def table(results: dict[str, list[tuple[float, float]]]) -> str:
    lines = [f"{'':20} {'T: mean':>8} {'seeds':>24}   {'R: mean':>8} {'seeds':>24}   (PSNR, dB)"]
    for name, rows in results.items():
        t, r = (np.array([row[layer] for row in rows]) for layer in (0, 1))
        each = ["  ".join(f"{value:6.2f}" for value in values) for values in (t, r)]
        lines.append(f"{name:20} {t.mean():8.2f} {each[0]:>24}   {r.mean():8.2f} {each[1]:>24}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path("miniature"))
    parser.add_argument("--autoencoder-steps", type=int, default=600)
    parser.add_argument("--unet-steps", type=int, default=800)
    add_option(parser, "diffrs.miniature")
    options = parser.parse_args()
    results = run(
        options.output,
        options.seeds,
        autoencoder_steps=options.autoencoder_steps,
        unet_steps=options.unet_steps,
    )
    print(table(results))
    record(options, {"rows": [row(name, pairs) for name, pairs in results.items()]})


def row(name: str, pairs: list[tuple[float, float]]) -> dict:
    """What `--record` keeps of one row: the mean of each layer, and each seed's value."""
    kept = {"row": name}
    for layer, values in zip("tr", zip(*pairs, strict=True), strict=True):
        kept[layer] = round(float(np.mean(values)), 2)
        kept |= {f"{layer}{index}": round(float(value), 2) for index, value in enumerate(values)}
    return kept


if __name__ == "__main__":
    run_script(main)

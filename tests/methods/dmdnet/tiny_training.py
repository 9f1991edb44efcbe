"""A tiny DMDNet, pictures drawn by rule, a stand-in for the depth network: training in minutes on a CPU."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import nn

from dereflect.methods.dmdnet import objective
from dereflect.methods.dmdnet.network import DEPTH_CHANNELS, DepthFeatures, pad_to_multiple
from dereflect.training.recipe import parse_recipe

DIMS = (8, 12, 16, 20, 24)


class StandInDepth(nn.Module):
    """Nearness from smoothed brightness and fixed random features: same interface, no weights file."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        for level, channels in DEPTH_CHANNELS.items():
            self.register_buffer(f"mix{level}", torch.randn(channels, 3, 3, 3, generator=generator) / 3)

    def features(self, image: torch.Tensor) -> DepthFeatures:
        image = pad_to_multiple(image)
        with torch.no_grad():
            semantics = tuple(
                F.relu(
                    F.conv2d(F.avg_pool2d(image, 2 ** (level - 1)), self.get_buffer(f"mix{level}"), padding=1)
                )
                for level in DEPTH_CHANNELS
            )
            proximity = F.avg_pool2d(image.mean(1, keepdim=True), 9, 1, 4, count_include_pad=False) * 4
        return DepthFeatures(semantics, proximity)


def use_stand_in(monkeypatch) -> None:
    monkeypatch.setattr(objective, "load_depth_network", lambda path: StandInDepth())


def draw_picture(random: np.random.Generator, side: int = 96) -> Image.Image:
    """A coloured gradient with a few shapes and some grain."""
    corners = random.integers(20, 236, (2, 2, 3)).astype(np.uint8)
    picture = Image.fromarray(corners).resize((side, side), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    for _ in range(random.integers(3, 8)):
        box = random.integers(0, side, 4)
        box = [*np.minimum(box[:2], box[2:]).tolist(), *(np.maximum(box[:2], box[2:]) + 4).tolist()]
        colour = tuple(random.integers(0, 256, 3).tolist())
        (pen.rectangle if random.random() < 0.5 else pen.ellipse)(box, fill=colour)
    grain = random.normal(0, 4, (side, side, 3))
    return Image.fromarray(np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8))


def draw_folder(folder: Path, count: int, seed: int) -> Path:
    random = np.random.default_rng(seed)
    (folder / "photos").mkdir(parents=True)
    for i in range(count):
        draw_picture(random).save(folder / "photos" / f"{i:03d}.png")
    return folder


def tiny_recipe(
    data: Path, output: Path, steps: int, batch: int = 2, side: int = 64, seed: int = 1, **network
):
    return parse_recipe(
        {
            "objective": "dmdnet",
            "data": str(data),
            "output": str(output),
            "settings": {
                "depth": "stand-in",
                "network": {"dims": DIMS, "decoder_blocks": [1] * 5, "mugi_blocks": [1] * 4, **network},
                "weights": {"perceptual": 0.0},
                "sources": {"real": [], "shares": [1.0], "patch": side, "scale": [side, side + 16]},
                "learning_rates": {0: 2e-3, 10_000: 1e-3},
            },
            "schedule": {
                "steps": steps, "batch_size": batch, "seed": seed, "device": "cpu", "workers": 1,
                "log_every": 10, "checkpoint_minutes": 1000,
            },
        }
    )  # fmt: skip


def psnr(estimate: torch.Tensor, target: torch.Tensor) -> float:
    errors = (estimate.clamp(0, 1) - target).square().flatten(1).mean(1)
    return (-10 * errors.log10()).mean().item()


def held_out_psnr(network, depth, folder: Path, count: int = 12, side: int = 64):
    """(of the input, of the separated transmission) on mixtures of pictures never trained on."""
    before, after = held_out_layers(network, depth, folder, count, side)
    return before[0], after[0]


def held_out_layers(network, depth, folder: Path, count: int = 12, side: int = 64):
    """PSNR of T and R on mixtures of pictures never trained on: ((T, R) of the input, (T, R) separated)."""
    from dereflect.methods.dmdnet.data import GlassMixture, Sources

    sources = Sources(real=[], shares=[1.0], patch=side, scale=(side, side + 16))
    samples = GlassMixture(sources, {"data": folder}, seed=99)
    drawn = [samples.draw(i // len(samples), i % len(samples)) for i in range(count)]
    names = ("blended", "transmission", "reflection")
    image, *targets = (torch.stack([one[name] for one in drawn]) for name in names)
    with torch.no_grad():
        done = network(image, depth.features(image))
    layers = zip((done.transmission, done.reflection), targets, strict=True)
    return tuple(psnr(image, target) for target in targets), tuple(psnr(*pair) for pair in layers)

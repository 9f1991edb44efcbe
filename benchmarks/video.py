"""Flicker of films: frame by frame against steadied along motion, on moving films with known layers.

    python benchmarks/video.py [--films held-out] [--model default] [--frames 24] [--radius 8] [--save DIR]

The settings of `dereflect.video` were chosen on the films "tuned"; those of "held-out" have other photographs
and other motions, softness and strength of the reflection, drawn with `--seed`. `--photos DIR` takes the
photographs from a folder of your own.

Each film is two photographs, a sharp scene and a soft reflection, that pan, turn and zoom differently, by
known amounts, and are mixed in linear light; frames are rounded to 8 bit. Flicker is the mean absolute change
of the transmission from one frame to the next along the scene's *true* motion, in levels of 255. The true
film's own flicker, which comes of interpolation alone, is printed as the floor. PSNR is against the scene as
it lies behind the glass. Photographs: scikit-image's.
"""

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from measured import add_option, record
from PIL import Image

import dereflect
from dereflect.cli.scripts import run_script
from dereflect.video.steady import steady_changes

HEIGHT, WIDTH = 240, 320
GAMMA = 2.2
PASSED = 0.85  # share of the scene's light that comes through the glass


@dataclass(frozen=True)
class Motion:
    """How a camera passes over a photograph: pixels, and radians, a frame."""

    start: tuple[float, float]
    pan: tuple[float, float]
    sway: tuple[float, float]  # width and period of a shake
    zoom: tuple[float, float]  # at the beginning, and its growth
    turn: float


SCENE = Motion((-30, 0), (1.3, 0.6), (2.0, 5.0), (1.15, 0.004), 0.001)
BEFORE = Motion((40, -20), (-2.1, 0.9), (3.0, 3.0), (0.95, 0.0), -0.002)


@dataclass(frozen=True)
class Shot:
    """A film: a scene, what is mirrored before it, how both move, and how strong the reflection is."""

    scene: str
    mirrored: str
    scene_motion: Motion = field(default=SCENE)
    mirrored_motion: Motion = field(default=BEFORE)
    strength: float = 0.2  # share of the mirrored light
    softness: float = 2.5  # of the mirrored photograph, in pixels


TUNED = [Shot("astronaut", "coffee"), Shot("motorcycle_left", "astronaut"), Shot("coffee", "chelsea")]
HELD_OUT = ["rocket", "chelsea", "camera", "coins", "brick", "hubble_deep_field"]
"""Photographs of the films "held-out": the first three as scenes, all as what is mirrored."""


def draw_shots(names: list[str], scenes: list[str], count: int, seed: int) -> list[Shot]:
    chance = np.random.default_rng(seed)
    shots = []
    for scene in itertools.islice(itertools.cycle(scenes), count):
        mirrored = str(chance.choice([name for name in names if name != scene]))
        strength, softness = chance.uniform(0.15, 0.3), chance.uniform(1.5, 4)
        shots.append(Shot(scene, mirrored, _move(chance, 2), _move(chance, 4), strength, softness))
    return shots


def _move(chance: np.random.Generator, speed: float) -> Motion:
    direction = chance.uniform(0, 2 * np.pi)
    pan = (speed * np.cos(direction), speed * np.sin(direction))
    sway = (chance.uniform(0, 4), chance.uniform(2, 8))
    zoom = (chance.uniform(1.0, 1.3), chance.uniform(-0.004, 0.006))
    # Begin such that the middle of the film is the middle of the photograph.
    return Motion((-12 * pan[0], -12 * pan[1]), pan, sway, zoom, chance.uniform(-0.003, 0.003))


@dataclass
class Truth:
    blended: np.ndarray  # uint8
    transmission: np.ndarray  # float32
    view: np.ndarray  # 2 x 3: where a pixel of this frame lies in the scene's photograph


def photograph(name: str, softness: float) -> np.ndarray:
    folder = Path(skimage.data.__file__).parent
    path = Path(name) if Path(name).suffix else next(folder.glob(f"{name}.[jp][pn]g"))
    pixels = np.asarray(Image.open(path).convert("RGB"), np.float32) / 255
    return cv2.GaussianBlur(pixels, (0, 0), softness)


def look(photo: np.ndarray, x: float, y: float, zoom: float, angle: float) -> tuple[np.ndarray, np.ndarray]:
    cosine, sine = np.cos(angle) / zoom, np.sin(angle) / zoom
    left = x - (cosine * WIDTH - sine * HEIGHT) / 2
    top = y - (sine * WIDTH + cosine * HEIGHT) / 2
    view = np.array([[cosine, -sine, left], [sine, cosine, top]], np.float32)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(photo, view, (WIDTH, HEIGHT), flags=flags, borderMode=cv2.BORDER_REFLECT)
    return seen.clip(0, 1), view


def pass_over(photo: np.ndarray, motion: Motion, t: int) -> tuple[np.ndarray, np.ndarray]:
    height, width = photo.shape[:2]
    sway = motion.sway[0] * np.sin(t / motion.sway[1])
    x = width / 2 + motion.start[0] + motion.pan[0] * t + sway
    y = height / 2 + motion.start[1] + motion.pan[1] * t
    return look(photo, x, y, motion.zoom[0] + motion.zoom[1] * t, motion.turn * t)


def shoot(shot: Shot, frames: int) -> Iterator[Truth]:
    scene, mirrored = photograph(shot.scene, 0.7), photograph(shot.mirrored, shot.softness)
    for t in range(frames):
        behind, view = pass_over(scene, shot.scene_motion, t)
        before, _ = pass_over(mirrored, shot.mirrored_motion, t)
        light = PASSED * behind**GAMMA
        blended = (light + shot.strength * before**GAMMA).clip(0, 1) ** (1 / GAMMA)
        yield Truth(np.rint(blended * 255).astype(np.uint8), light ** (1 / GAMMA), view)


def flicker(film: list[Truth], transmissions: list[np.ndarray]) -> float:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    changes = []
    for (one, first), (two, second) in pairwise(zip(film, transmissions, strict=True)):
        there = np.linalg.inv(np.vstack([two.view, [0, 0, 1]])) @ np.vstack([one.view, [0, 0, 1]])
        x = (there[0, 0] * columns + there[0, 1] * rows + there[0, 2]).astype(np.float32)
        y = (there[1, 0] * columns + there[1, 1] * rows + there[1, 2]).astype(np.float32)
        seen = (x >= 2) & (x < WIDTH - 3) & (y >= 2) & (y < HEIGHT - 3)
        changes.append(np.abs(cv2.remap(second, x, y, cv2.INTER_CUBIC) - first)[seen].mean())
    return 255 * float(np.mean(changes))


def psnr(film: list[Truth], pictures: list[np.ndarray]) -> float:
    pairs = zip(film, pictures, strict=True)
    return float(np.mean([-10 * np.log10(np.mean((a.transmission - b.clip(0, 1)) ** 2)) for a, b in pairs]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--films", choices=["tuned", "held-out"], default="held-out")
    parser.add_argument("--photos", type=Path, help="draw the films from this folder's photographs")
    parser.add_argument("--count", type=int, default=6, help="films drawn")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--model", default="default")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--radius", type=int, default=8)
    parser.add_argument("--save", type=Path, help="write every sixth frame, side by side, into this folder")
    add_option(parser, "video.held_out")
    options = parser.parse_args()
    separator = dereflect.load(options.model, dtype=options.dtype)
    if options.photos:
        names = sorted(str(path) for path in options.photos.iterdir() if path.suffix in (".jpg", ".png"))
        names = list(np.random.default_rng(options.seed).permutation(names)[: 2 * options.count])
        shots = draw_shots(names, names[: options.count], options.count, options.seed)
    else:
        drawn = draw_shots(HELD_OUT, HELD_OUT[:3], options.count, options.seed)
        shots = drawn if options.films == "held-out" else TUNED
    print(f"{'film':36}{'':12}{'PSNR':>8}{'flicker':>9}")
    ratios, gains, table = [], [], []
    for number, shot in enumerate(shots):
        name = f"{Path(shot.scene).stem} behind {Path(shot.mirrored).stem}, {shot.strength:.2f}"
        film = list(shoot(shot, options.frames))
        photos = [truth.blended.astype(np.float32) / 255 for truth in film]
        single = [separator.tensors(truth.blended).transmission.permute(1, 2, 0).numpy() for truth in film]
        changes = steady_changes(single, options.radius)
        steady = [(frame + change).clip(0, 1) for frame, change in zip(single, changes, strict=True)]
        truths = [truth.transmission for truth in film]
        print(f"{name:36}{'true':12}{'':8}{flicker(film, truths):9.3f}")
        for kind, pictures in (("photo", photos), ("frames", single), ("steady", steady)):
            print(f"{'':36}{kind:12}{psnr(film, pictures):8.2f}{flicker(film, pictures):9.3f}")
        ratios.append(flicker(film, steady) / flicker(film, single))
        gains.append(psnr(film, steady) - psnr(film, single))
        table.append(
            {
                "film": name.rpartition(",")[0],
                "gain": round(float(gains[-1]), 2),
                "flicker": round(ratios[-1], 3),
            }
        )
        print(f"{'':36}steady/frames: flicker x {ratios[-1]:.3f}, PSNR {gains[-1]:+.2f} dB", flush=True)
        if options.save:
            options.save.mkdir(parents=True, exist_ok=True)
            for index in range(0, options.frames, 6):
                parts = (photos[index], single[index], steady[index], truths[index])
                sheet = np.rint(np.hstack(parts).clip(0, 1) * 255).astype(np.uint8)
                Image.fromarray(sheet).save(options.save / f"{number}-{index:03d}.png")
    print(
        f"mean: flicker x {np.mean(ratios):.3f} ({100 * (1 - np.mean(ratios)):.0f} % less), "
        f"PSNR {np.mean(gains):+.2f} dB"
    )
    flicker_left = float(np.mean(ratios))
    means = {"mean_gain": round(float(np.mean(gains)), 2), "mean_flicker": round(flicker_left, 3)}
    means["reduction"] = round(1 - flicker_left, 2)
    record(options, {"frames": options.frames} | means | {"rows": table}, options.dtype)


if __name__ == "__main__":
    run_script(main)

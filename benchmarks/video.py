"""Flicker of films: frame by frame against steadied along motion, on moving films with known layers.

    python benchmarks/video.py [--model default] [--frames 24] [--radius 8] [--save DIR]

Each film is two photographs, a sharp scene and a soft reflection, that pan, turn and zoom differently, by
known amounts, and are mixed in linear light; frames are rounded to 8 bit. Flicker is the mean absolute change
of the transmission from one frame to the next along the scene's *true* motion, in levels of 255. The true
film's own flicker, which comes of interpolation alone, is printed as the floor. PSNR is against the scene as
it lies behind the glass. Photographs: scikit-image's.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from PIL import Image

import dereflect
from dereflect.video.steady import steady_changes

HEIGHT, WIDTH = 240, 320
GAMMA = 2.2
FILMS = {
    "portrait behind a coffee table": ("astronaut", "coffee"),
    "workshop behind a portrait": ("motorcycle_left", "astronaut"),
    "coffee table behind a cat": ("coffee", "chelsea"),
}
PASSED, MIRRORED, SOFTNESS = 0.85, 0.2, 2.5  # shares of the light, and blur in pixels


@dataclass
class Truth:
    blended: np.ndarray  # uint8
    transmission: np.ndarray  # float32
    view: np.ndarray  # 2 x 3: where a pixel of this frame lies in the scene's photograph


def photograph(name: str, softness: float) -> np.ndarray:
    path = Path(skimage.data.__file__).parent / f"{name}.png"
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


def shoot(scene_name: str, mirrored_name: str, frames: int) -> Iterator[Truth]:
    scene, mirrored = photograph(scene_name, 0.7), photograph(mirrored_name, SOFTNESS)
    height, width = scene.shape[:2]
    mirrored_height, mirrored_width = mirrored.shape[:2]
    for t in range(frames):
        x, y = width / 2 - 30 + 1.3 * t + 2 * np.sin(t / 5), height / 2 + 0.6 * t
        behind, view = look(scene, x, y, 1.15 + 0.004 * t, 0.001 * t)
        x, y = mirrored_width / 2 + 40 - 2.1 * t, mirrored_height / 2 - 20 + 0.9 * t + 3 * np.sin(t / 3)
        before, _ = look(mirrored, x, y, 0.95, -0.002 * t)
        light = PASSED * behind**GAMMA
        blended = (light + MIRRORED * before**GAMMA).clip(0, 1) ** (1 / GAMMA)
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
    parser.add_argument("--model", default="default")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--radius", type=int, default=8)
    parser.add_argument("--save", type=Path, help="write every sixth frame, side by side, into this folder")
    options = parser.parse_args()
    separator = dereflect.load(options.model, dtype="float32")
    print(f"{'film':32}{'':12}{'PSNR':>8}{'flicker':>9}")
    ratios, gains = [], []
    for name, (scene, mirrored) in FILMS.items():
        film = list(shoot(scene, mirrored, options.frames))
        photos = [truth.blended.astype(np.float32) / 255 for truth in film]
        single = [
            separator(truth.blended, return_tensors="pt").transmission.permute(1, 2, 0).numpy()
            for truth in film
        ]
        changes = steady_changes(single, options.radius)
        steady = [(frame + change).clip(0, 1) for frame, change in zip(single, changes, strict=True)]
        truths = [truth.transmission for truth in film]
        print(f"{name:32}{'true':12}{'':8}{flicker(film, truths):9.3f}")
        for kind, pictures in (("photo", photos), ("frames", single), ("steady", steady)):
            print(f"{'':32}{kind:12}{psnr(film, pictures):8.2f}{flicker(film, pictures):9.3f}")
        ratios.append(flicker(film, steady) / flicker(film, single))
        gains.append(psnr(film, steady) - psnr(film, single))
        print(f"{'':32}steady/frames: flicker x {ratios[-1]:.3f}, PSNR {gains[-1]:+.2f} dB", flush=True)
        if options.save:
            options.save.mkdir(parents=True, exist_ok=True)
            for index in range(0, options.frames, 6):
                parts = (photos[index], single[index], steady[index], truths[index])
                sheet = np.rint(np.hstack(parts).clip(0, 1) * 255).astype(np.uint8)
                Image.fromarray(sheet).save(options.save / f"{scene}-{index:03d}.png")
    print(
        f"mean: flicker x {np.mean(ratios):.3f} ({100 * (1 - np.mean(ratios)):.0f} % less), "
        f"PSNR {np.mean(gains):+.2f} dB"
    )


if __name__ == "__main__":
    main()

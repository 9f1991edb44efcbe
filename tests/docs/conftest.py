"""A folder as the pages speak of it: photos, pairs, a film, a mask, a model, all of them small."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dng import write_dng

SIZE = (96, 72)


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC).save(path)


def film(path: Path) -> None:
    av = pytest.importorskip("av")
    frame = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for shift in range(3):
            moved = np.ascontiguousarray(np.roll(frame, shift, 1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moved, "rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def world(tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, as the working directory; the default model is a tiny one."""
    names = [
        "window.jpg",
        "photo.jpg",
        "cafe.jpg",
        "a.jpg",
        "b.png",
        "holiday/one.jpg",
        "holiday/day-2/two.jpg",
    ]
    names.append("shoot/a.jpg")
    for raw in ("window.dng", "shoot/a.dng"):
        write_dng(tmp_path / raw)
    names += [f"{folder}/{index}.jpg" for folder in ("photos", "sample") for index in range(2)]
    names += [f"data/photos/{index}.jpg" for index in range(24)]  # some are held out
    for root in ("pairs", "more-pairs", "data/pairs"):
        names += [f"{root}/{layer}/{name}.png" for layer in LAYERS for name in ("005", "006", "007")]
    for seed, name in enumerate(names):
        picture(tmp_path / name, seed)
    (tmp_path / "holiday" / "notes.txt").write_text("not a picture")
    Image.fromarray(np.full(SIZE[::-1], 255, np.uint8)).save(tmp_path / "region.png")
    strokes = np.zeros((*SIZE[::-1], 4), np.uint8)
    strokes[20:24, 10:60] = (255, 0, 0, 255)
    Image.fromarray(strokes).save(tmp_path / "strokes.png")
    film(tmp_path / "window.mp4")
    for name in ("my-model", "my-dmdnet"):
        (tmp_path / name).symlink_to(model_folder)
    monkeypatch.setattr("dereflect.methods.default.method.EMBEDDED", model_folder)
    monkeypatch.setattr(Image.Image, "show", lambda self: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


LAYERS = ("blended", "transmission_layer", "reflection_layer")

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dereflect.methods.default.method import DefaultMethod
from dereflect.methods.default.network import DefaultConfig

pytest.importorskip("fsspec")
pytest.importorskip("pyarrow")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default family's real classes at a tiny size, as a model folder."""
    folder = tmp_path_factory.mktemp("batch-model") / "tiny"
    torch.manual_seed(0)
    DefaultMethod(DefaultConfig(widths=(8, 8, 8), head_width=8, encoder="")).save_pretrained(folder)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Callable[[int], Path]:
    """Make a source folder of small photos of several sizes and formats, in a tree."""

    def make(count: int) -> Path:
        source = tmp_path / "photos"
        rng = np.random.default_rng(7)
        for index in range(count):
            folder = source / ("a", "b/c", "")[index % 3]
            folder.mkdir(parents=True, exist_ok=True)
            coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
            size = ((96, 64), (64, 96))[index % 2]
            picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
            picture.save(folder / f"photo{index:03d}.{'jpg' if index % 4 else 'png'}")
        return source

    return make

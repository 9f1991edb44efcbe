import numpy as np
import pytest
from PIL import Image

from dereflect.data.layouts import find_data_sets


class Dimmer:
    """A system that darkens: enough to tell whether pictures, layers and sizes reach the right place."""

    device = "cpu"

    def __init__(self, name="dimmer", share=0.5):
        self.name, self.share, self.identity, self.seen = name, share, f"{name} {share}", []

    def separate(self, picture):
        self.seen.append((picture.shape, picture.dtype))
        floats = picture.astype(np.float32) / 255 if picture.dtype == np.uint8 else picture
        return self.share * floats, (1 - self.share) * floats


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(np.rint(array), 0, 255).astype(np.uint8)).save(path)


def make_pairs(folder, names=("a", "b", "c"), size=(40, 56), reflection=True, seed=0):
    random = np.random.default_rng(seed)
    for number, name in enumerate(names):
        photo = random.uniform(0, 200, (*size, 3))
        save(folder / "blended" / f"{name}.png", photo)
        save(folder / "transmission_layer" / f"{name}.png", photo * 0.5 + 3 * number)
        if reflection:
            save(folder / "reflection_layer" / f"{name}.png", photo * 0.5)
    return folder


@pytest.fixture
def data(tmp_path):
    return find_data_sets(make_pairs(tmp_path / "mine"))


@pytest.fixture
def dimmer():
    return Dimmer()

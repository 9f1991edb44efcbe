import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dereflect.data.augment import JointGeometry, align_size
from dereflect.data.mixture import Mixture, PhotosBehindGlass, RealPairs, SampleGenerators
from dereflect.data.pairs import Pair, read_pairs
from dereflect.data.synthesis import ceilnet
from dereflect.errors import InputError


def add_and_darken(clear, mirrored, random):
    return ceilnet.mix(clear, mirrored, ceilnet.draw(random))


GEOMETRY = JointGeometry(crop=16, scale=(16, 24))


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = []
    for number in range(7):
        pixels = np.full((20, 30, 3), 30 * number, np.uint8)
        pixels[:, :, 0] = np.arange(30) * 8
        paths.append(tmp_path / f"{6 - number}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def test_samples_depend_on_their_number_alone(photos: list[Path]):
    def mixture(seed: int) -> Mixture:
        return Mixture([PhotosBehindGlass(photos, GEOMETRY, add_and_darken, seed)], [1.0], seed)

    one, other = mixture(3), mixture(3)
    random.seed(0)
    np.random.seed(0)
    ahead = [one.draw(epoch, index) for epoch in (0, 1) for index in range(3)]
    random.seed(99)
    back = [other.draw(epoch, index) for epoch in (1, 0) for index in (2, 1, 0)]
    for a, b in zip(ahead, [*back[3:][::-1], *back[:3][::-1]], strict=True):
        assert all(torch.equal(a[key], b[key]) for key in a)
    assert not torch.equal(ahead[0]["blended"], mixture(4).draw(0, 0)["blended"])


def test_layers_add_up_except_where_clipped(photos: list[Path]):
    source = PhotosBehindGlass(photos, GEOMETRY, add_and_darken, seed=1)
    for index in range(3):
        sample = source.sample(0, index, SampleGenerators.of(1, 0, index))
        total = sample["transmission"] + sample["reflection"]
        torch.testing.assert_close(sample["blended"], total.clamp(0, 1), atol=1e-6, rtol=0)
        assert all(value.shape == (3, 16, 16) for value in sample.values())


def test_sources_are_chosen_by_share_and_indices_wrap(photos: list[Path]):
    class Named:
        def __init__(self, name: float, length: int) -> None:
            self.name, self.length, self.asked = name, length, set()

        def __len__(self) -> int:
            return self.length

        def sample(self, epoch, index, draws):
            self.asked.add(index)
            return {"name": torch.tensor(float(self.name))}

    a, b = Named(1, 900), Named(0, 7)
    mixture = Mixture([a, b], [0.7, 0.3], seed=0)
    assert len(mixture) == 907
    share = torch.stack([mixture.draw(0, index)["name"] for index in range(907)]).mean()
    assert 0.65 < share < 0.75
    assert b.asked == set(range(7))
    with pytest.raises(InputError, match="empty"):
        Mixture([a, Named(2, 0)], [0.5, 0.5], 0)


def test_real_pairs_keep_a_signed_difference_and_one_geometry(tmp_path: Path):
    generator = np.random.default_rng(0)
    for role, size in (("blended", (37, 35)), ("transmission_layer", (37, 35))):
        (tmp_path / role).mkdir()
        pixels = generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / role / "a.png")
    sample = RealPairs(read_pairs(tmp_path), GEOMETRY).sample(0, 0, SampleGenerators.of(0, 0, 0))
    assert sample["reflection"].min() < -0.1
    total = sample["transmission"] + sample["reflection"]
    torch.testing.assert_close(total, sample["blended"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("align", [0, 16])
def test_real_pairs_are_brought_to_a_multiple_of_the_transmissions_size(align: int, tmp_path: Path):
    generator = np.random.default_rng(0)
    sizes = {"blended": (37, 50), "transmission_layer": (41, 67)}
    files = {}
    for role, (width, height) in sizes.items():
        (tmp_path / role).mkdir()
        files[role] = Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8))
        files[role].save(tmp_path / role / "a.png")

    class Watched(JointGeometry):
        def apply(self, pictures, random):
            seen.extend(pictures)
            return super().apply(pictures, random)

    seen: list[Image.Image] = []
    pair = Pair("a", tmp_path / "blended/a.png", tmp_path / "transmission_layer/a.png")
    RealPairs([pair], Watched(crop=16, scale=(16, 24)), align).sample(0, 0, SampleGenerators.of(0, 0, 0))
    for picture, role in zip(seen, ("transmission_layer", "blended"), strict=True):
        expected = align_size(files[role], (32, 64)) if align else files[role]
        assert np.array_equal(np.asarray(picture), np.asarray(expected))


def test_geometry_is_the_same_for_all_pictures_and_follows_the_published_order():
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    picture, inverted = Image.fromarray(pixels), Image.fromarray(255 - pixels)
    geometry = JointGeometry(crop=20, scale=(31, 45), flip=0.5)
    for seed in range(8):
        one, other = geometry.apply([picture, inverted], random.Random(seed))
        difference = np.asarray(one).astype(int) + np.asarray(other) - 255
        assert np.abs(difference).max() <= 1  # bicubic overshoot is clipped on both sides

        draws = random.Random(seed)
        height = draws.randint(31, 45) // 2 * 2
        width = -(-int(height * 70 / 50) // 2) * 2
        expected = picture.resize((width, height), Image.Resampling.BICUBIC)
        if draws.random() < 0.5:
            expected = expected.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        top, left = draws.randint(0, height - 20), draws.randint(0, width - 20)
        assert np.array_equal(np.asarray(one), np.asarray(expected.crop((left, top, left + 20, top + 20))))


def test_crop_larger_than_the_smallest_scale_is_refused():
    with pytest.raises(InputError, match="crop=224"):
        JointGeometry(crop=224, scale=(100, 448))

"""Random photos through glass: each of the formation's parts does what its formula says."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dereflect.data.glass import Draws, GlassMix, draw, render, stack
from dereflect.data.glass.camera import jpeg, tone
from dereflect.data.glass.mix import SCENES
from dereflect.data.glass.pages import page
from dereflect.data.glass.render import blur
from dereflect.images.fidelity import unit_psnr

EFFECTS = (
    *("dimmed", "additive", "ghost", "regional", "tinted"),
    *("veiled", "lamps", "curved", "noisy", "jpeg"),
)
NOTHING = GlassMix(identity=1, **dict.fromkeys(EFFECTS, 0.0))


@pytest.fixture
def layers() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.rand(1, 3, 32, 48), torch.rand(1, 3, 32, 48)


def clear(**changes: Any) -> Draws:
    """A pane that does nothing, and a camera of display curve 2.2, but for `changes`."""
    numbers = draw(NOTHING, np.random.default_rng(0))._replace(
        black=np.zeros(3, np.float32), white=np.ones(3, np.float32), power=np.ones(1, np.float32)
    )
    numbers = numbers._replace(
        curve=np.array([2.2], np.float32),
        blur=np.zeros(2, np.float32),
        mirror_power=np.ones(1, np.float32),
        exposure=np.ones(1, np.float32),
        highlights=np.ones(1, np.float32),
    )
    values = {name: np.asarray(value, np.float32) for name, value in changes.items()}
    return stack([numbers._replace(**values)])


def test_the_same_seed_draws_the_same_numbers() -> None:
    one, two = (draw(GlassMix(), np.random.default_rng(5)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_every_draw_stays_in_range(layers: tuple[torch.Tensor, torch.Tensor]) -> None:
    rng = np.random.default_rng(1)
    draws = stack([draw(GlassMix(), rng) for _ in range(60)])
    glass = render(*(layer.expand(60, -1, -1, -1) for layer in layers), draws)
    for layer in (glass.blended, glass.transmission, glass.reflection):
        assert layer.shape == (60, 3, 32, 48)
        assert torch.isfinite(layer).all()
        assert layer.min() >= 0
        assert layer.max() <= 1


def test_a_picture_does_not_depend_on_its_neighbours(layers: tuple[torch.Tensor, torch.Tensor]) -> None:
    rng = np.random.default_rng(2)
    numbers = [draw(GlassMix(noisy=0), rng) for _ in range(6)]
    whole = render(*(layer.expand(6, -1, -1, -1) for layer in layers), stack(numbers))
    for index, one in enumerate(numbers):
        alone = render(*layers, stack([one]))
        torch.testing.assert_close(alone.blended[0], whole.blended[index], atol=2e-5, rtol=0)


def test_without_glass_nothing_changes(
    layers: tuple[torch.Tensor, torch.Tensor],
) -> None:
    glass = render(*layers, clear())
    assert torch.equal(glass.blended, glass.transmission)
    torch.testing.assert_close(glass.transmission, layers[0])
    assert glass.reflection.max() == 0


def test_light_adds(layers: tuple[torch.Tensor, torch.Tensor]) -> None:
    scene, mirrored = (0.6 * layer for layer in layers)
    glass = render(scene, mirrored, clear(ratio=[-1.0]))
    torch.testing.assert_close(glass.blended**2.2, scene**2.2 + mirrored**2.2, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(glass.reflection, mirrored)


def test_the_ratio_is_of_mean_light(layers: tuple[torch.Tensor, torch.Tensor]) -> None:
    glass = render(*layers, clear(ratio=[0.25]))
    ratio = (glass.reflection**2.2).mean() / (glass.transmission**2.2).mean()
    assert float(ratio) == pytest.approx(0.25, rel=1e-3)


def test_dark_glass_dims_the_photo_alone(
    layers: tuple[torch.Tensor, torch.Tensor],
) -> None:
    glass = render(*layers, clear(passed=[0.8, 0.9, 0.8]))
    torch.testing.assert_close(glass.transmission, layers[0])
    wanted = layers[0] * torch.tensor([0.8, 0.9, 0.8])[:, None, None]
    torch.testing.assert_close(glass.blended, wanted, atol=1e-5, rtol=1e-4)


def test_lifted_blacks_belong_to_the_transmission(layers: tuple[torch.Tensor, torch.Tensor]) -> None:
    glass = render(0 * layers[0], layers[1], clear(black=[0.2, 0.3, 0.2], white=[0.9, 0.9, 0.9]))
    wanted = torch.tensor([0.2, 0.3, 0.2])[:, None, None].expand_as(glass.transmission)
    torch.testing.assert_close(glass.transmission, wanted)
    torch.testing.assert_close(glass.blended, wanted)


def test_the_subtracting_rule_lowers_the_reflection_by_the_mean_excess() -> None:
    scene, mirrored = torch.full((1, 3, 16, 16), 0.9), torch.full((1, 3, 16, 16), 0.5)
    glass = render(scene, mirrored, clear(curve=[1.0], ratio=[-1.0], lowered=[1.1]))
    torch.testing.assert_close(glass.reflection, torch.full_like(scene, 0.5 - 1.1 * 0.4))


def test_a_ghost_is_a_shifted_copy() -> None:
    mirrored = torch.zeros(1, 3, 32, 32)
    mirrored[:, :, 10, 10] = 1
    draws = clear(ratio=[-1.0], curve=[1.0], ghost=[4 / 32, -2 / 32, 0.25])
    reflection = render(torch.zeros_like(mirrored), mirrored, draws).reflection[0, 0]
    assert float(reflection[10, 10]) == pytest.approx(0.75)
    assert float(reflection[8, 14]) == pytest.approx(0.25)


def test_an_edge_leaves_one_side_alone() -> None:
    mirrored = torch.ones(1, 3, 32, 32)
    draws = clear(ratio=[-1.0], curve=[1.0], region=[1.0, 0, 0], edge=[0.0, 0.0, 80.0])
    reflection = render(torch.zeros_like(mirrored), mirrored, draws).reflection[0, 0]
    assert reflection[:, :14].max() < 0.01
    assert reflection[:, 18:].min() > 0.99


def test_a_lamp_saturates_where_it_stands() -> None:
    lamp = np.zeros((3, 7))
    lamp[0] = (0.25, 0.75, 0.05, 4.0, 1, 1, 1)
    dark = torch.full((1, 3, 64, 64), 0.1)
    blended = render(dark, dark, clear(ratio=[0.01], lamps=lamp)).blended[0, 0]
    assert blended[47, 16] == 1
    assert blended[10, 55] < 0.35


def test_grain_is_the_same_in_photo_and_transmission(layers: tuple[torch.Tensor, torch.Tensor]) -> None:
    torch.manual_seed(3)
    glass = render(0.3 + 0.4 * layers[0], layers[1], clear(noise=[1e-3, 1e-5]))
    torch.testing.assert_close(glass.blended, glass.transmission)
    assert (glass.transmission - 0.3 - 0.4 * layers[0]).abs().mean() > 1e-3


def test_every_picture_of_a_batch_has_its_own_blur() -> None:
    point = torch.zeros(2, 3, 41, 41)
    point[:, :, 20, 20] = 1
    narrow, wide = blur(point, torch.tensor([1.0, 4.0]))[:, 0]
    for blurred, sigma in ((narrow, 1.0), (wide, 4.0)):
        assert float(blurred[20, 20]) == pytest.approx(1 / (2 * math.pi * sigma**2), rel=0.06)
        torch.testing.assert_close(blurred.sum(), torch.tensor(1.0))


def test_jpeg_is_near_what_a_jpeg_library_makes(tmp_path: Any) -> None:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
    photo = small.resize((64, 48), Image.Resampling.BICUBIC)
    tensor = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None].float() / 255
    for quality, subsampling in ((60, 0), (85, 2)):
        photo.save(tmp_path / "x.jpg", quality=quality, subsampling=subsampling)
        wanted = np.asarray(Image.open(tmp_path / "x.jpg")) / 255
        found = jpeg(tensor, torch.tensor([float(quality)]), torch.tensor([float(subsampling == 2)]))
        found = found[0].permute(1, 2, 0).numpy()
        assert unit_psnr(found, wanted) > unit_psnr(tensor[0].permute(1, 2, 0).numpy(), wanted) + 3
        assert unit_psnr(found, wanted) > 38


def test_no_quality_leaves_a_picture_alone(layers: tuple[torch.Tensor, torch.Tensor]) -> None:
    both = torch.cat(layers)
    found = jpeg(both, torch.tensor([0.0, 50.0]), torch.zeros(2))
    assert torch.equal(found[0], both[0])
    assert not torch.equal(found[1], both[1])


def test_the_tone_curve_keeps_black_and_white_and_deepens_shadows() -> None:
    light = torch.tensor([0.0, 0.25**2.2, 1.0]).view(1, 1, 1, 3)
    found = tone(light, torch.tensor(2.2), torch.tensor(0.4)).flatten()
    torch.testing.assert_close(found, torch.tensor([0.0, 0.25 - 0.4 / (2 * math.pi), 1.0]))


def test_every_kind_of_scene_is_drawn_as_often_as_its_share() -> None:
    rng = np.random.default_rng(0)
    mix = GlassMix(ordinary=0.5, lifted=0.5, page=0, high_key=0, low_contrast=0, low_key=0)
    kinds = [SCENES[int(draw(mix, rng).scene[0])] for _ in range(400)]
    assert set(kinds) == {"ordinary", "lifted"}
    assert kinds.count("lifted") == pytest.approx(200, abs=40)


@pytest.mark.parametrize("mix", [{"jpeg": 1.5}, dict.fromkeys(SCENES, 0.0)])
def test_impossible_shares_are_refused(mix: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="glass"):
        GlassMix(**mix)


def test_pages_are_pale_and_keep_their_size() -> None:
    dark = Image.new("RGB", (120, 90), (30, 30, 30))
    means = [np.asarray(page(dark, np.random.default_rng(seed))).mean() for seed in range(12)]
    assert page(dark, np.random.default_rng(0)).size == (120, 90)
    assert max(means) > 120
    assert min(means) == 30

"""Large pictures: no seams, no halos, the photo's own detail, and memory by a budget."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dereflect.inference import stripes as striping
from dereflect.inference.plan import Plan, make_plan
from dereflect.inference.stripes import _cover, stripes_of_fitted, stripes_of_tiles, stripes_of_whole
from dereflect.methods.contract import Traits


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


def smooth(height: int, width: int, cells: int = 4, seed: int = 0) -> Tensor:
    return F.interpolate(picture(cells, cells, seed)[None], (height, width), mode="bicubic").clamp(0, 1)[0]


def whole_of(stripes, height: int, width: int, photo: Tensor) -> tuple[Tensor, Tensor]:
    layers = torch.full((2, 3, height, width), torch.nan)
    reached = 0
    for stripe in stripes:
        assert stripe.start == reached
        reached += stripe.transmission.shape[1]
        assert torch.equal(stripe.photo, photo[:, stripe.start : reached])
        layers[0, :, stripe.start : reached] = stripe.transmission
        layers[1, :, stripe.start : reached] = stripe.reflection
    assert reached == height
    return layers[0], layers[1]


def reduce(full: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(full[None], (height, width), mode="area")[0]


@pytest.mark.parametrize(
    ("length", "tile", "overlap"), [(100, 40, 16), (41, 40, 16), (1000, 64, 32), (40, 40, 16)]
)
def test_weights_of_tiles_add_up_to_one_and_fade_at_inner_borders(length, tile, overlap):
    starts, weights = _cover(length, tile, overlap)
    total = torch.zeros(length)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + tile] += weight
        assert start == 0 or weight[0] < 0.05
        assert start + tile == length or weight[-1] < 0.05
    assert torch.allclose(total, torch.ones(length), atol=1e-6)
    assert starts[0] == 0
    assert starts[-1] + tile == length


@pytest.mark.parametrize(
    ("height", "width", "tile"),
    [(150, 210, 64), (64, 64, 64), (33, 300, 64), (1, 500, 64), (700, 310, 3 * striping.STRIPE)],
)
def test_tiles_of_a_local_method_equal_the_whole(height, width, tile):
    full = picture(height, width)

    def blur(batch: Tensor) -> tuple[Tensor, Tensor]:  # reaches 3 pixels
        blurred = F.avg_pool2d(F.pad(batch, (3,) * 4, mode="replicate"), 7, stride=1)
        return blurred, batch - blurred

    expected = blur(full[None])
    layout = make_plan(height, width, Traits(tile_overlap=32), 1 << 30, tile=tile)
    stripes = stripes_of_tiles(lambda a, b: full[:, a:b], height, width, layout, blur)
    transmission, reflection = whole_of(stripes, height, width, full)
    # Pixels within the blur's reach of a tile's border differ, and there the weights are all but zero.
    assert (transmission - expected[0][0]).abs().max() < 0.02
    assert (reflection - expected[1][0]).abs().max() < 0.02

    exact = stripes_of_tiles(lambda a, b: full[:, a:b], height, width, layout, lambda x: (0.3 * x, 0.7 * x))
    assert torch.allclose(whole_of(exact, height, width, full)[0], 0.3 * full, atol=1e-6)


def test_tiles_that_disagree_blend_without_a_step():
    full = torch.full((3, 40, 400), 0.5)
    level = iter(range(100))

    def moody(batch: Tensor) -> tuple[Tensor, Tensor]:  # every tile has its own brightness
        return batch * (0.5 + 0.5 * (next(level) % 2)), batch

    layout = Plan("tiled", 40, 100, 50)
    transmission, _ = whole_of(
        stripes_of_tiles(lambda a, b: full[:, a:b], 40, 400, layout, moody), 40, 400, full
    )
    assert transmission.max() - transmission.min() > 0.2  # they do disagree
    assert (transmission[..., 1:] - transmission[..., :-1]).abs().max() < 0.25 / 50 * 2


def test_fitted_running_leaves_the_photo_alone_where_nothing_is_taken_away():
    full = picture(300, 500)
    small = reduce(full, 60, 100)
    stripes = stripes_of_fitted(
        small, (small.clone(), torch.zeros_like(small)), lambda a, b: full[:, a:b], 300, 500
    )
    transmission, reflection = whole_of(stripes, 300, 500, full)
    assert torch.equal(transmission, full)
    assert torch.equal(reflection, torch.zeros_like(full))


def test_fitted_running_keeps_the_scene_s_detail_under_a_smooth_reflection():
    scene = 0.6 * picture(400, 600)
    veil = 0.4 * smooth(400, 600)
    full = scene + veil
    small, small_scene, small_veil = (reduce(part, 80, 120) for part in (full, scene, veil))
    stripes = stripes_of_fitted(small, (small_scene, small_veil), lambda a, b: full[:, a:b], 400, 600)
    transmission, reflection = whole_of(stripes, 400, 600, full)
    assert (transmission - scene).abs().mean() < 0.005  # the detail itself has a mean deviation of 0.15
    assert (reflection - veil).abs().mean() < 0.01


def test_fitted_running_gives_a_sharp_reflection_its_own_detail():
    scene = torch.full((3, 400, 400), 0.3)
    bars = torch.zeros(3, 400, 400)
    for left in range(20, 400, 40):
        bars[:, :, left : left + 20] = 0.4
    full = scene + bars
    small, small_scene, small_bars = (reduce(part, 80, 80) for part in (full, scene, bars))
    stripes = stripes_of_fitted(small, (small_scene, small_bars), lambda a, b: full[:, a:b], 400, 400)
    transmission, reflection = whole_of(stripes, 400, 400, full)
    plain = full - F.interpolate(small_bars[None], (400, 400), mode="bilinear", align_corners=False)[0]
    assert (transmission - scene).abs().mean() < 0.25 * (plain - scene).abs().mean()
    assert (reflection - bars).abs().mean() < 0.02


@pytest.mark.parametrize("rows", [1, 64, 1000])
def test_stripes_leave_no_trace(rows, monkeypatch):
    full = smooth(520, 300, cells=6)
    veil = 0.3 * smooth(104, 60, cells=5, seed=1)
    small = reduce(full, 104, 60)

    def run() -> tuple[Tensor, Tensor]:
        stripes = stripes_of_fitted(small, (small - veil, veil), lambda a, b: full[:, a:b], 520, 300)
        return whole_of(stripes, 520, 300, full)

    usual = run()
    monkeypatch.setattr(striping, "STRIPE", rows)
    for first, second in zip(usual, run(), strict=True):
        assert torch.allclose(first, second, atol=1e-6)


def test_whole_running_hands_on_what_it_got():
    photo, *layers = (picture(300, 7, seed) for seed in range(3))
    found = whole_of(stripes_of_whole(photo, layers), 300, 7, photo)
    assert all(torch.equal(a, b) for a, b in zip(found, layers, strict=True))


def test_a_small_share_of_the_detail_is_taken_for_chance_and_a_large_one_for_all():
    guide = picture(60, 60)
    small, large = (striping._detail_share(guide, part * guide).mean() for part in (0.2, 0.9))
    assert small < 0.13
    assert large > 0.94

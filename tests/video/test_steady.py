"""Steadiness: less flicker along motion, nothing across cuts, detail and moving scenes kept."""

from itertools import pairwise

import numpy as np
import pytest

from dereflect.video.motion import find_motion, trust, warp
from dereflect.video.steady import _Link, _opinion, at_size, steady_changes, working_copy

cv2 = pytest.importorskip("cv2")

HEIGHT, WIDTH = 144, 192
SPEED = 2.5


def texture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).random((HEIGHT * 2, WIDTH * 3, 3), dtype=np.float32)
    smooth = sum(cv2.GaussianBlur(noise, (0, 0), sigma) * sigma for sigma in (2.0, 6.0))
    return ((smooth - smooth.min()) / (smooth.max() - smooth.min())).astype(np.float32)


def moving(seed: int, count: int, speed: float = SPEED) -> list[np.ndarray]:
    """A texture that glides to the left by `speed` pixels a frame."""
    source = texture(seed)
    frames = []
    for index in range(count):
        shift = np.array([[1, 0, 40 + speed * index], [0, 1, 20]], np.float32)
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        frames.append(cv2.warpAffine(source, shift, (WIDTH, HEIGHT), flags=flags))
    return frames


def flicker(frames: list[np.ndarray]) -> float:
    """Mean change along the known motion."""
    flow = np.zeros((HEIGHT, WIDTH, 2), np.float32)
    flow[..., 0] = -SPEED
    inner = (slice(8, -8), slice(16, -8))
    pairs = pairwise(frames)
    changes = [np.abs(warp(second, flow) - first)[inner] for first, second in pairs]
    return float(np.mean(changes))


def test_motion_is_found_and_trusted():
    first, second = moving(1, 2)
    there, back = find_motion(first, second)
    inner = there[16:-16, 24:-24]
    assert np.abs(inner[..., 0] + SPEED).mean() < 0.1
    assert np.abs(inner[..., 1]).mean() < 0.1
    assert trust(there, back)[16:-16, 24:-24].mean() > 0.95
    assert _Link(first, second).cut is False


def test_passing_faults_are_averaged_away():
    truth = moving(1, 13)
    rng = np.random.default_rng(5)
    faulty = []
    for frame in truth:  # a soft veil that is elsewhere in every frame, as a network's changing mind
        veil = cv2.GaussianBlur(rng.random((HEIGHT, WIDTH), dtype=np.float32), (0, 0), 12)
        veil = (veil - veil.min()) / (veil.max() - veil.min())
        faulty.append(frame * 0.9 + 0.1 * veil[..., None])
    changes = list(steady_changes(faulty, radius=4))
    steady = [frame + change for frame, change in zip(faulty, changes, strict=True)]
    assert flicker(steady) < 0.6 * flicker(faulty)
    error = [np.square(np.array(film) - np.array(truth)).mean() for film in (faulty, steady)]
    assert error[1] < error[0]


def test_a_film_without_faults_stays_as_it_is():
    truth = moving(2, 9)
    changes = list(steady_changes(truth, radius=3))
    assert len(changes) == 9
    assert np.abs(changes).mean() < 0.003


def test_nothing_guides_across_a_cut():
    shots = moving(1, 4), moving(9, 4, speed=-1.0)
    both = list(steady_changes([*shots[0], *shots[1]], radius=4))
    apart = [change for shot in shots for change in steady_changes(shot, radius=4)]
    for one, two in zip(both, apart, strict=True):
        np.testing.assert_array_equal(one, two)


def test_something_that_comes_from_behind_is_not_dragged_along():
    """A bright square crosses the scene the other way; what it hides and uncovers must not keep its trace."""
    frames = moving(3, 9)
    for index, frame in enumerate(frames):
        frame[50:90, 20 + 8 * index : 60 + 8 * index] = 1.0
    changes = np.abs(list(steady_changes(frames, radius=3)))
    careless = np.abs([np.mean(frames[max(0, i - 3) : i + 4], axis=0) - frames[i] for i in range(9)])
    path = (slice(None), slice(40, 100))
    assert changes[path].mean() < 0.25 * careless[path].mean()
    assert changes[path].mean() < 0.03


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("radius", [0, 1, 8])
def test_every_frame_gets_its_change(count: int, radius: int):
    frames = moving(4, count)
    changes = list(steady_changes(iter(frames), radius))
    assert [change.shape for change in changes] == [frame.shape for frame in frames]
    if radius == 0 or count == 1:
        assert not np.any(changes)


def test_lead_frames_only_guide():
    frames = moving(4, 8)
    whole = list(steady_changes(frames, radius=2))
    part = list(steady_changes(frames[3:], radius=2, skip=2))
    assert len(part) == 3
    for one, two in zip(part, whole[5:], strict=True):
        np.testing.assert_array_equal(one, two)


def test_large_frames_are_worked_on_in_small():
    frame = np.random.default_rng(0).random((500, 1500, 3), dtype=np.float32)
    small = working_copy(frame)
    assert small.shape == (240, 720, 3)
    assert abs(small.mean() - frame.mean()) < 1e-3
    assert at_size(small, 500, 1500).shape == frame.shape
    assert working_copy(small) is small


def test_of_two_opinions_the_darker_weighs_more():
    """A reflection only adds light."""
    darker, brighter = (
        float(_opinion(np.full((9, 9, 3), difference, np.float32)).mean()) for difference in (-0.05, 0.05)
    )
    assert darker > 1 > brighter > 0

"""Steadiness in time: what was decided for a frame is guided by what was decided for its neighbours.

Frame by frame, a network takes a reflection for one now and for scene a moment later, and its result
flickers. But the scene moves as one while the reflection passes over it, so the transmissions of neighbouring
frames, brought along the scene's own motion onto this frame, are further opinions on the same scene. Their
weighted mean is taken::

    change_t = sum_k w_k (warp(T_{t+k}) - T_t) / (1 + sum_k w_k),    T_t + change_t,    R_t - change_t

The weight w_k of a neighbour falls where its motion cannot be trusted (there and back does not come home: it
is hidden, or out of the frame) and where it differs much (something else is there now), and rises where it is
darker: a reflection only adds light, so of two opinions the darker is likelier to be free of it.

The motion is found on the transmissions, in which the reflection is weaker already. Everything is done on
copies of at most `WORKING_SIZE` pixels; only the smooth change is brought to full size, so the frame's own
detail stays as it was. A frame depends on `radius` frames on each side and nothing else: cutting a film into
chunks changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from dereflect.video.motion import Flow, Pixels, Weight, find_motion, follow, import_cv2, inside, trust, warp

RADIUS = 8
"""Frames on each side that guide one: a third of a second, in which a reflection moves on."""
WORKING_SIZE = 720
DIFFERENCE = 0.15
"""Difference between opinions at which the weight has fallen to 1/e."""
DARKER = 5.0
"""Log of the weight's growth a unit of darkness."""
SOFTNESS = 1.0
"""Blur of the change, in pixels of the working copy."""
CUT_TRUST = 0.25
"""Mean trust below which two frames are of different shots: nothing guides across a cut."""
CUT_LEFT = 0.8
"""Share of a frame's contrast that motion leaves unexplained above which it is a cut as well."""


class _Link:
    """The motion between two neighbouring frames."""

    def __init__(self, first: Pixels, second: Pixels) -> None:
        self.onward, self.back = find_motion(first, second)
        self.onward_trust = trust(self.onward, self.back)
        self.back_trust = trust(self.back, self.onward)
        lost = float(self.onward_trust.mean() + self.back_trust.mean()) < 2 * CUT_TRUST
        left = np.abs(warp(second, self.onward) - first).mean()
        contrast = np.abs(first - first.mean(axis=(0, 1))).mean()
        self.cut = lost or bool(left > CUT_LEFT * max(contrast, 0.02))


def steady_changes(transmissions: Iterable[Pixels], radius: int = RADIUS, skip: int = 0) -> Iterator[Pixels]:
    """What to add to each frame's transmission to make the film steady.

    Args:
        transmissions: of all frames in order, (H, W, 3) float32 in [0, 1], one size.
        radius: frames on each side that guide one; 0 changes nothing.
        skip: frames at the beginning that only guide others, and get no change of their own.

    Yields:
        The change of each frame, as soon as `radius` frames after it have been seen; (H, W, 3), in [-1, 1].
    """
    frames: deque[Pixels] = deque()  # from `first` on
    links: deque[_Link] = deque()  # links[i] is between frames[i] and frames[i + 1]
    first = seen = 0
    due = skip
    for frame in transmissions:
        if frames and radius:
            links.append(_Link(frames[-1], frame))
        frames.append(frame)
        seen += 1
        if seen - 1 - due >= radius:
            yield _change(frames, links, due - first, radius)
            due += 1
        while first < due - radius:
            frames.popleft()
            if links:
                links.popleft()
            first += 1
    while due < seen:
        yield _change(frames, links, due - first, radius)
        due += 1


def _change(frames: deque[Pixels], links: deque[_Link], index: int, radius: int) -> Pixels:
    own = frames[index]
    total = np.zeros_like(own)
    weights = np.ones(own.shape[:2], np.float32)
    for direction in (1, -1):
        flow: Flow | None = None
        weight: Weight | None = None
        for distance in range(1, radius + 1):
            other = index + direction * distance
            if not 0 <= other < len(frames):
                break
            link = links[min(other, other - direction)]
            if link.cut:
                break
            step, sure = (link.onward, link.onward_trust) if direction == 1 else (link.back, link.back_trust)
            if flow is None or weight is None:
                flow, weight = step, sure
            else:
                weight = weight * warp(sure, flow, smooth=False)
                flow = follow(flow, step)
                weight = weight * inside(flow)
            difference = warp(frames[other], flow) - own
            share = weight * _opinion(difference)
            total += share[..., None] * difference
            weights += share
    # What is left of a reflection is soft, the errors of motion are fine: what is finer than a pixel goes.
    change: Pixels = import_cv2().GaussianBlur(total / weights[..., None], (0, 0), SOFTNESS)
    return change


def _opinion(difference: Pixels) -> Weight:
    """Weight of a neighbour by how it differs, (H, W)."""
    cv2 = import_cv2()

    local = cv2.blur(difference, (5, 5))
    far = np.abs(local).mean(axis=-1) / DIFFERENCE
    weight: Weight = np.exp(-(far**2) - DARKER * local.mean(axis=-1))
    return weight


def working_copy(transmission: NDArray[np.float32]) -> Pixels:
    """A copy reduced to `WORKING_SIZE`, every pixel counted; the picture itself if it is no larger."""
    cv2 = import_cv2()

    height, width = transmission.shape[:2]
    scale = WORKING_SIZE / max(height, width)
    if scale >= 1:
        return transmission
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(transmission, size, interpolation=cv2.INTER_AREA)


def at_size(change: Pixels, height: int, width: int) -> Pixels:
    """A change brought to the frame's own size."""
    cv2 = import_cv2()

    if change.shape[:2] == (height, width):
        return change
    return cv2.resize(change, (width, height), interpolation=cv2.INTER_LINEAR)

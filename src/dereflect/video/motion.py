"""Motion between frames: dense optical flow (OpenCV's DIS), where it can be trusted, and warping along it.

DIS: T. Kroeger et al., "Fast Optical Flow using Dense Inverse Search" (ECCV 2016), with variational
refinement. Its patches are four times the usual size here: behind glass two motions lie over one another, and
a patch must see enough of the scene to follow the stronger.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dereflect.errors import MissingExtra

Pixels = NDArray[np.float32]
"""(H, W, 3) or (H, W, 1) in [0, 1]."""
Flow = NDArray[np.float32]
"""(H, W, 2): pixel (x, y) of one frame lies at (x, y) + flow in the other."""
Weight = NDArray[np.float32]
"""(H, W) in [0, 1]."""

PATCH = 32
STRIDE = 10
TOLERANCE = 0.5
"""Pixels by which going there and back may miss before trust falls to 1/e ..."""
TOLERANCE_SHARE = 0.05
"""... and this share of the way."""


def import_cv2() -> Any:
    """OpenCV, or the error that says how to install it."""
    try:
        import cv2
    except ImportError as error:
        raise MissingExtra("opencv-python-headless", "video", "dereflect video") from error
    return cv2


def find_motion(first: Pixels, second: Pixels) -> tuple[Flow, Flow]:
    """Flow from the first frame to the second, and back."""
    cv2 = import_cv2()
    finder = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    if min(first.shape[:2]) >= 4 * PATCH:  # smaller pictures have no room for large patches on coarse scales
        finder.setPatchSize(PATCH)
        finder.setPatchStride(STRIDE)
    one, two = (
        np.rint(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).clip(0, 1) * 255).astype(np.uint8)
        for picture in (first, second)
    )
    return finder.calc(one, two, None), finder.calc(two, one, None)


def warp(values: NDArray[np.float32], flow: Flow, smooth: bool = True) -> NDArray[np.float32]:
    """Values of the other frame where this frame's pixels lie in it; cubic, or linear if not `smooth`."""
    cv2 = import_cv2()
    columns, rows = _grid(*flow.shape[:2])
    kind = cv2.INTER_CUBIC if smooth else cv2.INTER_LINEAR
    x, y = columns + flow[..., 0], rows + flow[..., 1]
    return cv2.remap(values, x, y, kind, borderMode=cv2.BORDER_REPLICATE)


def follow(flow: Flow, onward: Flow) -> Flow:
    """The flow to a frame further on: `flow`, then `onward` from where it leads."""
    return flow + warp(onward, flow, smooth=False)


def trust(there: Flow, back: Flow) -> Weight:
    """How far a flow is to be believed: there and back must come home (else something was hidden or lost)."""
    miss = np.linalg.norm(there + warp(back, there, smooth=False), axis=-1)
    allowed = TOLERANCE + TOLERANCE_SHARE * np.linalg.norm(there, axis=-1)
    weight: Weight = np.exp(-((miss / allowed) ** 2)) * inside(there)
    return weight


def inside(flow: Flow) -> Weight:
    """1 where the flow leads into the frame, 0 where it leads out of it."""
    height, width = flow.shape[:2]
    columns, rows = _grid(height, width)
    x, y = columns + flow[..., 0], rows + flow[..., 1]
    return ((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)).astype(np.float32)


@lru_cache(maxsize=2)
def _grid(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    return columns, rows

"""What a machine reaches in plain convolutions: the ceiling that a network's speed is held against."""

from __future__ import annotations

import time

import torch
from torch.nn import functional as F


@torch.inference_mode()
def convolution_rate(
    device: torch.device,
    dtype: torch.dtype,
    channels: int = 256,
    side: int = 128,
    batch: int = 1,
    runs: int = 7,
) -> float:
    """Floating-point operations a second of a 3x3 convolution, channels-last, the best of some runs.

    Args:
        channels: in and out.
        side: of the map in pixels.
        runs: timed ones; one more goes before.
    """
    layout = torch.channels_last
    x = torch.rand(batch, channels, side, side).to(device, dtype, memory_format=layout)
    weight = torch.randn(channels, channels, 3, 3).to(device, dtype, memory_format=layout)
    times = []
    for _ in range(runs + 1):
        _wait_for(device)
        start = time.perf_counter()
        F.conv2d(x, weight, padding=1)
        _wait_for(device)
        times.append(time.perf_counter() - start)
    return 2 * batch * channels * channels * 9 * side * side / min(times[1:])


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

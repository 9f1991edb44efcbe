"""What a run costs: seconds, and peak memory above where the run began."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class MeasuredCost:
    """Filled when the measured block ends."""

    seconds: float = 0.0
    peak_bytes: int | None = None
    """Most memory in use at once in the block beyond that before it; None where it cannot be seen."""


@contextmanager
def measured_cost(device: str = "cpu") -> Iterator[MeasuredCost]:
    """Measure the block. On CUDA the device's memory counts (and the block ends when the device is done)."""
    cost = MeasuredCost()
    before, peak = _gauges(device)
    start = time.perf_counter()
    level = before()
    yield cost
    highest = peak()
    cost.seconds = time.perf_counter() - start
    if level is not None and highest is not None:
        cost.peak_bytes = max(0, highest - level)


Gauge = Callable[[], int | None]


def _gauges(device: str) -> tuple[Gauge, Gauge]:
    if device.startswith("cuda"):
        import torch

        def level() -> int:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            return torch.cuda.memory_allocated()

        def peak() -> int:
            torch.cuda.synchronize()
            return torch.cuda.max_memory_allocated()

        return level, peak
    return _reset_resident_peak, peak_resident


def peak_resident() -> int | None:
    """Most memory that this process has had since it began or since a measurement began; None if not seen."""
    return _status_bytes("VmHWM")


def _reset_resident_peak() -> int | None:
    """Linux: set the process's resident peak back to what is resident now, and say how much that is."""
    try:
        _RESET.write_text("5")
    except OSError:
        return None
    return _status_bytes("VmRSS")


def _status_bytes(field: str) -> int | None:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return None

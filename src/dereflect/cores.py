"""How many processor cores this process may use, and how many of them other programs keep busy.

Imports nothing heavy: what OpenMP reads when PyTorch loads it must be settled before.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from dereflect import control_groups

STATISTICS = Path("/proc/stat")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_settled: str | None = None


def allowed() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available() -> int:
    """Cores' worth of time that this process may take: of those allowed, what its control groups grant."""
    return max(1, math.ceil(min(allowed(), _granted())))


def _granted() -> float:
    """Cores by the tightest quota of this process's control groups; infinite without one."""
    least = math.inf
    for folder, version in control_groups.folders("cpu"):
        with contextlib.suppress(OSError, ValueError):  # no such group, or "max"
            if version == 2:
                quota, period = (folder / "cpu.max").read_text().split()
            else:
                quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            if int(quota) > 0:
                least = min(least, int(quota) / int(period))
    return least


def settle(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let PyTorch begin with as many threads as a quota grants cores, not one for each that it sees.

    Does nothing once PyTorch is loaded, or where the user has said how many.
    """
    global _settled
    if "torch" not in sys.modules and not any(map(environment.get, _THREADS)) and available() < allowed():
        _settled = environment["OMP_NUM_THREADS"] = str(available())


def threads_chosen(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the user has said how many threads there shall be, and not `settle`."""
    return any(environment.get(name) not in (None, "", _settled) for name in _THREADS)


class CoreMeter:
    """Tells how many of the allowed cores other programs kept busy since the last look."""

    def __init__(self) -> None:
        self._last = _spent()

    def others(self, least: float = 0.25) -> float | None:
        """Cores that others kept busy, as a mean over the time since the last answer.

        Programs of low priority do not count unless this is one: they hardly take time from it.

        Args:
            least: seconds that must have passed.

        Returns:
            None where less time has passed, or the system does not tell.
        """
        now, last = _spent(), self._last
        if now is None or last is None or now[0] - last[0] < least:
            return None
        self._last = now
        seconds, busy, own = (after - before for after, before in zip(now, last, strict=True))
        return max(0.0, busy - own) / seconds


def _spent() -> tuple[float, float, float] | None:
    """Seconds: of the clock, of work on the allowed cores, and of this process's work."""
    try:
        lines = STATISTICS.read_text().splitlines()
        names = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        tick, low = os.sysconf("SC_CLK_TCK"), os.getpriority(os.PRIO_PROCESS, 0) > 0
    except (OSError, AttributeError, ValueError):  # not Linux
        return None
    ticks = 0
    for line in lines:
        name, *numbers = line.split()
        if name in names:
            user, nice, system, _, _, *rest = map(int, numbers[:8])  # idle and waiting for disks apart
            ticks += user + system + sum(rest) + (nice if low else 0)
    own = os.times()
    return time.monotonic(), ticks / tick, own.user + own.system


METER = CoreMeter()
"""Looks first when this is imported: what others do while PyTorch is loaded is known when the work begins."""

"""Counters in Prometheus's text format (version 0.0.4), without a package for it."""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

BUCKETS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
"""Upper bounds of the histogram of separation times, in seconds."""


class Metrics:
    """What happened since the start; every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._jobs: Counter[tuple[str, str]] = Counter()
        self._buckets = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0
        self._received = 0

    def count_request(self, method: str, route: str, status: int) -> None:
        """Count an answer; `route` is the pattern and not the path, or the lines would grow without bound."""
        with self._lock:
            self._requests[method, route, status] += 1

    def count_received(self, size: int) -> None:
        """Count bytes of request bodies."""
        with self._lock:
            self._received += size

    def count_job(self, model: str, outcome: str, seconds: float | None = None) -> None:
        """Count a separation, and the seconds of one that is done.

        Outcomes are ``done``, ``failed``, ``refused``, ``timed_out``, ``cancelled`` and, where the queue has
        no room, ``turned_away``.
        """
        with self._lock:
            self._jobs[model, outcome] += 1
            if seconds is not None:
                self._seconds += seconds
                self._buckets[sum(seconds > bound for bound in BUCKETS)] += 1

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """The exposition; `gauges` are further values of this moment, as {name: (help, value)}."""
        with self._lock:
            lines = _head("requests_total", "counter", "Answers by method, route and status.")
            for (method, route, status), count in sorted(self._requests.items()):
                lines.append(
                    f'dereflect_requests_total{{method="{method}",route="{_escape(route)}",'
                    f'status="{status}"}} {count}'
                )
            lines += _head("jobs_total", "counter", "Separations by model and outcome.")
            for (model, outcome), count in sorted(self._jobs.items()):
                lines.append(f'dereflect_jobs_total{{model="{_escape(model)}",outcome="{outcome}"}} {count}')
            lines += _head("separation_seconds", "histogram", "Time of a separation, waiting apart.")
            total = 0
            for bound, count in zip((*BUCKETS, float("inf")), self._buckets, strict=True):
                total += count
                label = "+Inf" if bound == float("inf") else f"{bound:g}"
                lines.append(f'dereflect_separation_seconds_bucket{{le="{label}"}} {total}')
            lines.append(f"dereflect_separation_seconds_sum {self._seconds:.6f}")
            lines.append(f"dereflect_separation_seconds_count {total}")
            lines += _head("received_bytes_total", "counter", "Bytes of request bodies.")
            lines.append(f"dereflect_received_bytes_total {self._received}")
        memory = resident_bytes()
        if memory is not None:
            gauges = {**gauges, "resident_memory_bytes": ("Memory of this process.", memory)}
        for name, (text, value) in gauges.items():
            lines += [*_head(name, "gauge", text), f"dereflect_{name} {value:g}"]
        return "\n".join(lines) + "\n"


def resident_bytes() -> int | None:
    """Resident memory of this process now; None where the system does not say (it does on Linux)."""
    if not sys.platform.startswith("linux"):
        return None
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _head(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP dereflect_{name} {text}", f"# TYPE dereflect_{name} {kind}"]


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

"""How PyTorch's threads wait for one another: long where they are alone on the machine, shortly where not.

The OpenMP library that PyTorch brings on Linux (GCC's) lets a thread that has done its share of an operation
spin for milliseconds until the others have done theirs. Alone on a machine nothing is faster. Where another
program wants a core as well, the thread that spins takes it away from the very thread that it waits for, and
a photo takes many times as long. The setting is read once, when the library is loaded. But the library spins
shortly of its own accord while it has more threads than there are cores. So a team of threads that sleeps
makes the others wait shortly. Those at work are as many as ever: no bit of a result changes.
"""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Any

from dereflect import cores
from dereflect.nn.threads import loaded

_CHOSEN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
"""Settings of the user's that say how threads wait, and win."""


class _Sleepers:
    """A team of threads, one for each core, that sleeps until it is left."""

    def __init__(self, parallel: Any, team: int) -> None:
        self._leave, ready = threading.Event(), threading.Event()

        def lead() -> None:
            # A team belongs to the thread that has called for it, and lives as long.
            parallel(ctypes.cast(ctypes.CDLL(None).free, ctypes.c_void_p), None, team, 0)  # frees nothing
            ready.set()
            self._leave.wait()

        self._leader = threading.Thread(target=lead, name="sleepers", daemon=True)
        self._leader.start()
        ready.wait()

    def leave(self) -> None:
        """Let the threads end."""
        self._leave.set()
        self._leader.join()


_sleepers: _Sleepers | None = None


def chosen_by_user() -> bool:
    """Whether a setting of the user's says how threads wait."""
    return any(map(os.environ.get, _CHOSEN))


def wait_shortly(shortly: bool) -> None:
    """Let the threads of this process wait shortly for one another from now on, or long."""
    global _sleepers
    if shortly and _sleepers is None:
        parallel = _gomp()
        if parallel is not None:
            _sleepers = _Sleepers(parallel, cores.allowed())
    elif not shortly and _sleepers is not None:
        _sleepers.leave()
        _sleepers = None


def waits_shortly() -> bool:
    """Whether they do so now, by `wait_shortly`."""
    return _sleepers is not None


def _gomp() -> Any:
    """What starts a team of GCC's OpenMP library, or None where PyTorch has another."""
    for path in loaded("gomp"):
        entry = ctypes.CDLL(path).GOMP_parallel
        entry.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        entry.restype = None
        return entry
    return None


def _forget() -> None:
    """In a forked process, which has but one thread."""
    global _sleepers
    _sleepers = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)

"""How PyTorch's threads wait for one another: long where they are alone on the machine, shortly where not.

The OpenMP library that PyTorch brings on Linux (GCC's) lets a thread that has done its share of an operation
spin for milliseconds until the others have done theirs. Alone on a machine nothing is faster. Where another
program wants a core as well, the thread that spins takes it away from the very thread that it waits for, and
a photo takes many times as long. The setting is read once, when the library is loaded. But the library spins
shortly of its own accord while it has more threads than there are cores. So while other programs are busy, a
team of threads is kept that sleeps. Those at work are as many as ever: no bit of a result changes.
"""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Any

import torch

from dereflect import cores
from dereflect.nn.threads import loaded

BUSY, CALM = 0.3, 0.15
"""Cores that others must take from this program before threads wait shortly, and below which no longer."""
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


class _Waiting:
    """Which way of waiting is in force in this process."""

    def __init__(self) -> None:
        self.sleepers: _Sleepers | None = None
        self.lock = threading.Lock()

    def suit(self) -> None:
        """Look, and keep sleepers or leave them."""
        taken = cores.METER.others()
        if taken is None:
            return
        taken -= cores.allowed() - torch.get_num_threads()  # of cores that we leave free anyway
        if self.sleepers is None and taken > BUSY:
            parallel = _gomp()
            if parallel is not None:
                self.sleepers = _Sleepers(parallel, cores.allowed())
        elif self.sleepers is not None and taken < CALM:
            self.sleepers.leave()
            self.sleepers = None


def suit_machine() -> None:
    """Choose how threads wait by what other programs do: call it before work of some hundredths of a second.

    Looks a few times a second at most. Leaves it to the user who has set ``OMP_WAIT_POLICY`` or
    ``GOMP_SPINCOUNT``; one thread waits for none.
    """
    if torch.get_num_threads() == 1 or any(map(os.environ.get, _CHOSEN)):
        return
    if _waiting.lock.acquire(blocking=False):  # another thread is looking
        try:
            _waiting.suit()
        finally:
            _waiting.lock.release()


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
    global _waiting
    _waiting = _Waiting()


_waiting = _Waiting()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)

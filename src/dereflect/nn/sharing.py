"""How PyTorch's threads share the machine with other programs: how they wait, and how many there are.

Every operation ends when its last thread does. Where other programs want the cores too, that one waits for a
core while the others idle. Then threads wait shortly for one another, which changes no bit of a result, and
where that changes none either there is no more than one for each core that others leave free: a photo's
result must not depend on what else the machine does. In float32 the number of threads changes last digits of
a network's results; in bfloat16 it need not, and `Traits.any_threads` says of which methods that was tested.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Iterator

import torch

from dereflect import cores
from dereflect.nn import waiting

BUSY, CALM = 0.3, 0.15
"""Cores that others must take from this program before threads wait shortly, and below which no longer."""
CROWDED, ROOMY = 0.6, 0.35
"""The same for threads that are left out in bfloat16."""


class _Share:
    """What this process does about others."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.spared = 0
        self._given = 0
        self._set: set[int] = set()

    def look(self) -> None:
        """See what others take, and decide."""
        taken = cores.METER.others()
        if taken is None:
            return
        taken -= cores.allowed() - self.given()  # of cores that we leave free anyway
        if taken > BUSY or taken < CALM:
            waiting.wait_shortly(taken > BUSY)
        if taken > CROWDED:
            self.spared = math.ceil(taken - CALM)
        elif taken < ROOMY:
            self.spared = 0

    def given(self) -> int:
        """How many threads this process was given, before some were left out."""
        now = torch.get_num_threads()
        if now not in self._set:  # it was not us
            self._given, self._set = now, {now}
        return self._given

    def apply(self, threads: int) -> None:
        """Let this thread of the program work with so many; PyTorch counts for each apart."""
        if threads != torch.get_num_threads():
            self._set.add(threads)
            torch.set_num_threads(threads)


def suit_machine() -> None:
    """Suit how threads wait to what other programs do: call it before work of some hundredths of a second.

    Looks a few times a second at most. Leaves it to the user who has set ``OMP_WAIT_POLICY`` or
    ``GOMP_SPINCOUNT``; one thread waits for none.
    """
    if _share.given() == 1 or waiting.chosen_by_user():
        return
    if _share.lock.acquire(blocking=False):  # another thread is looking
        try:
            _share.look()
        finally:
            _share.lock.release()


@contextlib.contextmanager
def leaving_room() -> Iterator[None]:
    """Work with no more threads than there are cores that other programs leave free, if it were more.

    For work whose result does not depend on their number. Leaves it to the user who has set
    ``OMP_NUM_THREADS`` or ``MKL_NUM_THREADS``, or one of the settings of `suit_machine`.
    """
    suit_machine()
    given = _share.given()
    if not cores.threads_chosen():
        _share.apply(max(1, given - _share.spared))
    try:
        yield
    finally:
        _share.apply(given)


def _forget() -> None:
    """In a forked process, whose lock nobody holds."""
    _share.lock = threading.Lock()


_share = _Share()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)

"""Runs that others may want to stop: by the terminate signal, or as ``--while`` says."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

from dereflect.errors import InputError

INTERVAL = 0.2
"""Seconds between two looks at the file."""


@contextlib.contextmanager
def running_while(word: str | None) -> Iterator[None]:
    """Within, what is done is interrupted as by Ctrl-C once a file is gone or standard input has ended.

    Args:
        word: the file; ``-`` for standard input, whose end also comes where the program that feeds it is
            killed; None for neither.

    Raises:
        InputError: there is no such file, or standard input is closed.
    """
    if word is None:
        yield
        return
    left = threading.Event()
    wait = _end_of_input() if word == "-" else _absence_of(word, left)

    def interrupt_then() -> None:
        wait()
        if not left.is_set():
            # Not by SIGINT, which is without effect where a shell has started the run in the background.
            _thread.interrupt_main(signal.SIGTERM)

    with terminate_interrupts():
        threading.Thread(target=interrupt_then, daemon=True).start()
        try:
            yield
        finally:
            left.set()


@contextlib.contextmanager
def terminate_interrupts() -> Iterator[None]:
    """Make the terminate signal (of batch systems) act like Ctrl-C, so that temporary files go away."""

    def interrupt(signal_number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end_of_input() -> Callable[[], None]:
    if sys.stdin is None:
        raise InputError("-", "standard input is closed", option="while")

    def wait() -> None:
        with contextlib.suppress(OSError):
            # Not through sys.stdin, whose lock would be held while Python ends.
            while os.read(0, 4096):
                pass

    return wait


def _absence_of(path: str, left: threading.Event) -> Callable[[], None]:
    if not os.path.lexists(path):
        raise InputError(path, "no such file", option="while")

    def wait() -> None:
        while os.path.lexists(path) and not left.wait(INTERVAL):
            pass

    return wait

"""Queues of jobs: a bounded queue, worker threads, time limits, positions and progress."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any

from dereflect.methods.contract import Progress


class QueueFull(Exception):  # noqa: N818 - a state of the queue, not a fault
    """No room to wait; come again later."""


class TimedOut(Exception):  # noqa: N818
    """A job was not finished within its time."""


class QueuedJob:
    """One piece of work and what is known of it.

    Attributes:
        future: its result.
        progress: (done, total) steps, or None where the work has not said.
        started: when it began, on the monotonic clock; None while it waits.
    """

    def __init__(self, work: Callable[[Progress], Any], size: int, seconds: float) -> None:
        self.size = size
        self.deadline = time.monotonic() + seconds
        self.future: Future[Any] = Future()
        self.progress: tuple[int, int] | None = None
        self.started: float | None = None
        self.work: Callable[[Progress], Any] | None = work

    @property
    def state(self) -> str:
        """``queued``, ``running``, ``done``, ``failed`` or ``cancelled``."""
        if self.future.cancelled():
            return "cancelled"
        if self.future.done():
            error = self.future.exception()
            return "cancelled" if isinstance(error, CancelledError) else "failed" if error else "done"
        return "queued" if self.started is None else "running"

    def cancel(self) -> None:
        """Take it out of the queue; work that has begun stops at its next step, if it has steps."""
        if not self.future.cancel():
            self.deadline = 0.0

    def report(self, done: int, total: int) -> None:
        """Note progress; stops work that is out of time."""
        self.progress = (done, total)
        if time.monotonic() > self.deadline:
            raise CancelledError if self.deadline == 0.0 else TimedOut


class JobQueue:
    """A bounded queue with its worker threads.

    Args:
        name: of the threads.
        workers: jobs at work at one time.
        waiting_jobs: how many may wait.
        waiting_bytes: of all that wait together.
        seconds: time of one job, from `submit` to its result.
    """

    def __init__(
        self, name: str, workers: int, waiting_jobs: int, waiting_bytes: int, seconds: float
    ) -> None:
        self.waiting_jobs, self.waiting_bytes, self.seconds = waiting_jobs, waiting_bytes, seconds
        self._waiting: deque[QueuedJob] = deque()
        self._running: set[QueuedJob] = set()
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._serve, name=f"{name}-{index}", daemon=True)
            for index in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Callable[[Progress], Any], size: int = 0) -> QueuedJob:
        """Put work into the queue.

        Args:
            work: called with a progress function in a worker thread.
            size: bytes that it holds while it waits.

        Raises:
            QueueFull: no room is left.
        """
        job = QueuedJob(work, size, self.seconds)
        with self._changed:
            self._waiting = deque(other for other in self._waiting if not other.future.cancelled())
            taken = sum(other.size for other in self._waiting)
            # Workers that are free take a job at once, so the first ones need no place in it.
            free = len(self._threads) - len(self._running)
            if self._closed or len(self._waiting) >= self.waiting_jobs + free:
                raise QueueFull
            if self._waiting and taken + size > self.waiting_bytes:
                raise QueueFull
            self._waiting.append(job)
            self._changed.notify()
        return job

    def position(self, job: QueuedJob) -> int:
        """How many jobs are before this one in the queue; 0 for the next, and for one that has begun."""
        with self._changed:
            before = 0
            for other in self._waiting:
                if other is job:
                    return before
                before += not other.future.cancelled()
            return 0

    def counts(self) -> tuple[int, int]:
        """(waiting, running)."""
        with self._changed:
            return sum(not job.future.cancelled() for job in self._waiting), len(self._running)

    def stuck(self) -> bool:
        """Whether some job has been running for more than twice its time, so that a worker is lost."""
        with self._changed:
            now = time.monotonic()
            return any(job.started and now - job.started > 2 * self.seconds for job in self._running)

    def close(self, wait: float = 10.0) -> None:
        """Drop what waits, and let what runs come to its end, for at most `wait` seconds."""
        with self._changed:
            self._closed = True
            for job in self._waiting:
                job.cancel()
            self._waiting.clear()
            self._changed.notify_all()
        until = time.monotonic() + wait
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                job = self._waiting.popleft()
                if not job.future.set_running_or_notify_cancel():
                    continue
                job.started = time.monotonic()
                self._running.add(job)
            self._run(job)
            with self._changed:
                self._running.discard(job)

    @staticmethod
    def _run(job: QueuedJob) -> None:
        work, job.work = job.work, None  # so that nothing keeps the photo alive once it is done
        assert work is not None
        try:
            if time.monotonic() > job.deadline:
                raise CancelledError if job.deadline == 0.0 else TimedOut
            result = work(job.report)
        except BaseException as error:  # handed to whoever waits for it
            job.future.set_exception(error)
        else:
            job.future.set_result(result)

"""`dereflect separate IN -o OUT --watch`: photos are separated as they arrive in a folder, until Ctrl-C.

Folders are looked through again and again. Events of the file system (inotify and its like) would come
sooner, but not from network folders (NFS, SMB), where photos often arrive; they are lost when too many come;
and none of them says that a copy is complete. So a look every second would be needed beside them in any case.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from dereflect.cli.inputs import Found, InputFile, is_same_folder, refuse_empty
from dereflect.cli.report import Report
from dereflect.cli.run import Run
from dereflect.cli.stopping import terminate_interrupts
from dereflect.errors import InputError
from dereflect.images.raw import missing

INTERVAL = 1.0
"""Seconds between two looks at a folder; ten times what a look takes, where that is more."""
SETTLED = 2.0
"""Seconds for which a file must not have changed."""
_UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".aria2", ".filepart", ".tmp")
"""What browsers and copying programs append to the name of a file, or of one beside it, until it is whole."""


class _Stamp(NamedTuple):
    """What changes when a file is written to, or replaced."""

    size: int
    changed: int
    number: int


class Arrivals:
    """Which of the files that are there are new and complete.

    A file is complete when it is not empty, has not changed for `SETTLED` seconds, no program has it open
    for writing as far as can be told, and neither its name nor a file beside it says otherwise.

    Args:
        clock: gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[Path, tuple[_Stamp, float]] = {}
        """What each file was like, and since when."""
        self._taken: dict[Path, _Stamp] = {}

    def complete(self, photos: Iterable[InputFile]) -> list[InputFile]:
        """Files that are complete and were not given before as they are now.

        Args:
            photos: all that are there.
        """
        now, complete, there = self._clock(), [], set()
        for photo in photos:
            there.add(photo.path)
            stamp = _stamp(photo.path)
            if stamp is None or self._taken.get(photo.path) == stamp:
                continue
            known, since = self._seen.get(photo.path, (None, now))
            since = since if known == stamp else now
            self._seen[photo.path] = stamp, since
            if now - since >= SETTLED and not is_unfinished(photo.path) and not is_written_to(photo.path):
                self._taken[photo.path] = stamp
                del self._seen[photo.path]
                complete.append(photo)
        self._seen = {path: seen for path, seen in self._seen.items() if path in there}
        return complete

    def forget(self, photo: InputFile) -> None:
        """Give a file again when it is there: it went away before it could be read."""
        self._taken.pop(photo.path, None)


def _stamp(path: Path) -> _Stamp | None:
    """None for a file that is empty, which something will fill, or gone."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return _Stamp(found.st_size, found.st_mtime_ns, found.st_ino) if found.st_size else None


def is_unfinished(path: Path) -> bool:
    """Whether a file's name, or that of a file beside it, says that it is not whole yet."""
    return path.name.startswith((".", "~")) or any(
        os.path.lexists(f"{path}{ending}") for ending in _UNFINISHED
    )


def is_written_to(path: Path) -> bool:
    """Whether some program has a file open for writing; False where that cannot be told.

    Linux tells it of local files that belong to the user: it grants a lease on those that nobody writes to.
    """
    if sys.platform != "linux":
        return False
    import errno
    import fcntl

    try:
        with open(path, "rb") as file:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    return False


class WatchedFolders:
    """Folders, looked through again and again.

    Args:
        folders: to watch.
        find: what is in some of them, as `dereflect.cli.inputs.find_photos` gives it.
        arrivals: tells what is complete.
        say: told in one line of a folder that is gone or back, or cannot be read.
    """

    def __init__(
        self,
        folders: list[str],
        find: Callable[[list[str]], Found],
        arrivals: Arrivals,
        say: Callable[[str], None],
    ) -> None:
        self.folders, self.find, self.arrivals, self.say = folders, find, arrivals, say
        self.found = Found()
        """What the last look found."""
        self._gone: set[str] = set()
        self._told: set[str] = set()

    def look(self) -> list[InputFile]:
        """New and complete photos."""
        there = [folder for folder in self.folders if self._is_there(folder)]
        if not there:
            return []
        self.found = self.find(there)
        errors = {str(error) for error in self.found.errors}
        if self.found.raw.unreadable:
            errors.add(f"raw files are left out: {missing()}")
        for line in sorted(errors - self._told):
            self.say(line)
        self._told = errors
        return self.arrivals.complete(self.found.photos)

    def _is_there(self, folder: str) -> bool:
        there = os.path.isdir(folder)
        if there and folder in self._gone:
            self._gone.remove(folder)
            self.say(f"{folder}: is back")
        elif not there and folder not in self._gone:
            self._gone.add(folder)
            self.say(f"{folder}: is gone; waiting for it to come back (Ctrl-C stops)")
        return there


def check_watch(words: list[str], output: Path | None, shard: str | None) -> None:
    """Refuse what cannot be watched.

    Raises:
        InputError: no output folder, one that is watched itself, a word that is no folder, or a shard.
    """
    for word in words:
        refuse_empty(word)
        if not os.path.isdir(word):
            reason = "is a file; --watch takes folders" if os.path.exists(word) else "no such folder"
            raise InputError(word, reason)
        if is_same_folder(word, output):
            raise InputError(output, "is watched itself; choose another folder", option="output")
    if output is None:
        raise InputError(
            "--watch", "needs a folder for the results that is not watched; give it with --output"
        )
    if shard is not None:
        raise InputError("--watch and --shard", "contradict each other; give one of them")


def watch(
    folders: list[str],
    find: Callable[[list[str]], Found],
    report: Report,
    load: Callable[[], Run],
    pause: Callable[[float], None] | None = None,
) -> int:
    """Separate photos as they arrive, until Ctrl-C or the terminate signal.

    The photo that is at work then is dropped, and no half of a file stays.

    Args:
        folders, find: as for `WatchedFolders`.
        report: told of everything.
        load: gives the run.
        pause: waits some seconds.

    Returns:
        The exit code: 0 all fine, 1 some photos failed, 2 no photo went well.
    """
    looked = WatchedFolders(folders, find, Arrivals(), report.warn)
    with _without_lease_signals(), terminate_interrupts():
        try:
            report.load()
            run = load()
            report.say_device(run.separator)
            report.say(f"watching {', '.join(folders)}; Ctrl-C stops")
            while True:
                began = time.monotonic()
                photos = looked.look()
                spent = time.monotonic() - began
                report.total += len(photos)
                for photo in photos:
                    failures = report.failures
                    run.all([photo], report)
                    if report.failures > failures and not os.path.exists(photo.path):
                        looked.arrivals.forget(photo)
                (pause or time.sleep)(max(INTERVAL, 10 * spent))
        except KeyboardInterrupt:
            report.interrupted()
    return report.finish(looked.found)


@contextlib.contextmanager
def _without_lease_signals() -> Iterator[None]:
    """Linux would end a process by this signal if another opened a file within `is_written_to`."""
    if not hasattr(signal, "SIGIO"):
        yield
        return
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGIO, before)

"""The folder of what is done of a film already: kept when a run stops, gone when all is done."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from dereflect.errors import OVERWRITE, InputError, first_line
from dereflect.files import move, write_text
from dereflect.leftovers import temporary_name

_OURS = ("chunk-", "trial", "whole", "joined", "job.json", "lock", ".dereflect-")
"""How the names of files in such a folder begin."""


class FilmParts:
    """Finished chunks of one film, beside its target.

    Args:
        target: the film to be.
        job: one line that tells this job from others; chunks of others are not used.
    """

    def __init__(self, target: Path, job: str) -> None:
        self.target, self.job = target, job
        self.folder = folder_of(target)
        self._mark = self.folder / "job.json"
        self._joined = self.folder / "joined.json"

    @property
    def trial(self) -> Path:
        """Where a chunk may be that is only made to see whether it can be."""
        return self.folder / "trial.mkv"

    @property
    def whole(self) -> Path:
        """Where the finished film is until it gets its name."""
        return self.folder / f"whole{self.target.suffix}"

    def chunk(self, number: int) -> Path:
        """Where a chunk is, or will be."""
        return self.folder / f"chunk-{number:06d}.mkv"

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Hold the folder for this process, with the chunks of an earlier run of the very same job in it.

        Raises:
            InputError: another run holds it, it holds files of the user's, or it cannot be written.
        """
        with contextlib.ExitStack() as stack:
            try:
                self.folder.mkdir(exist_ok=True)
                stack.enter_context(FileLock(self.folder / "lock").acquire(timeout=0))
                self._prepare()
            except Timeout as error:
                raise InputError(self.target, "another run is at work on it; wait for it") from error
            except OSError as error:
                raise InputError(self.folder, f"cannot be written ({first_line(error)})") from error
            yield

    def _prepare(self) -> None:
        if self._mark.is_file() and self._mark.read_text(encoding="utf-8") == self.job:
            return
        files = list(self.folder.iterdir())
        if not self._mark.exists() and not all(file.name.startswith(_OURS) for file in files):
            raise InputError(
                self.folder, "is needed for parts of the film, and holds other files; choose another name"
            )
        for file in files:
            if file.name.startswith(_OURS) and file.name != "lock":
                file.unlink()
        write_text(self.job, self._mark)

    def finished_earlier(self) -> bool:
        """Whether a run was killed after it had written the target and before it had removed the parts.

        If so, they are removed.
        """
        try:
            known = json.loads(self._joined.read_text(encoding="utf-8"))
            if known != self._state(self.target):
                return False
        except (OSError, ValueError):
            return False
        self.remove()
        return True

    def publish(self, overwrite: bool) -> None:
        """Move the finished film to the target, and remove all parts.

        Raises:
            InputError: something is at the target and `overwrite` is off, or it cannot be written.
        """
        write_text(json.dumps(self._state(self.whole)), self._joined)
        try:
            move(self.whole, self.target, overwrite)
        except FileExistsError as error:
            raise InputError(self.target, "exists already", remedy=OVERWRITE) from error
        except OSError as error:
            raise InputError(self.target, f"cannot be written ({first_line(error)})") from error
        self.remove()

    def remove(self) -> None:
        """Remove the folder: it is renamed first, so that a kill leaves nothing under its name."""
        gone = self.folder.with_name(temporary_name())
        with contextlib.suppress(OSError):
            if sys.platform != "win32":  # where the lock within forbids it
                self.folder.rename(gone)
        for folder in (gone, self.folder):
            shutil.rmtree(folder, ignore_errors=True)

    def _state(self, film: Path) -> dict[str, object]:
        """What stays the same when a file is renamed."""
        state = os.stat(film)
        return {"job": self.job, "size": state.st_size, "time": state.st_mtime_ns}


def folder_of(target: Path) -> Path:
    """Where the parts of a film are."""
    return target.with_name(target.name + ".parts")

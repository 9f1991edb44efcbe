"""Temporary files that killed runs have left are known by their names and removed; those of others stay.

A temporary name says which process made it: on which machine (since which start of it, in which container),
its number, and when it began. So another run can tell whether that process is still at work. Of another
machine that shares the folder it cannot; there, what is a day old counts as left.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import socket
import sys
import time
from functools import lru_cache
from pathlib import Path

DAY = 24 * 60 * 60.0
_NAME = re.compile(
    r"\.dereflect-(?:([0-9a-f]{12})-([0-9a-f]+)-([0-9a-f]+)-)?[0-9a-f]{12}(?:\.part|\.old-(.+))", re.DOTALL
)


def temporary_name() -> str:
    """A name for a file or folder of this process that is not whole yet; hidden, and never given twice."""
    return f"{_stem()}.part"


def displaced_name(name: str) -> str:
    """A name for a folder called `name` while another takes its place."""
    return f"{_stem()}.old-{name}"


def is_temporary(name: str) -> bool:
    """Whether this is a name that `temporary_name` or `displaced_name` gives."""
    return _NAME.fullmatch(name) is not None


def is_left(name: str, changed: float) -> bool:
    """Whether `name` is a temporary name whose process is gone.

    Args:
        name: of a file or folder, without its path.
        changed: when it was last changed, in seconds since 1970.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        return False
    machine, number, began, _ = found.groups()
    if machine != _machine() or sys.platform == "win32":  # where asking after a process would end it
        return time.time() - changed > DAY
    return not _lives(int(number, 16), int(began, 16))


def sweep(folder: str | os.PathLike[str]) -> None:
    """Remove from a folder what killed runs have left in it; what cannot be removed stays.

    A folder that was about to be replaced when its run was killed gets its name back.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".dereflect-"):
                with contextlib.suppress(OSError):
                    if is_left(entry.name, entry.stat(follow_symlinks=False).st_mtime):
                        _remove(Path(entry.path))


@lru_cache(maxsize=4096)
def _swept(folder: str, process: int) -> None:
    sweep(folder)


def sweep_once(folder: str | os.PathLike[str]) -> None:
    """As `sweep`, but only the first time that this process asks for the folder."""
    _swept(os.path.abspath(folder), os.getpid())


def _remove(path: Path) -> None:
    found = _NAME.fullmatch(path.name)
    displaced = found[4] if found else None
    if displaced and not os.path.lexists(path.with_name(displaced)):
        path.rename(path.with_name(displaced))
    elif path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _stem() -> str:
    process = os.getpid()
    return f".dereflect-{_machine()}-{process:x}-{_began(process):x}-{secrets.token_hex(6)}"


@lru_cache(maxsize=1)
def _machine() -> str:
    """A mark of this machine since it was started, and of the container within it."""
    boot = namespace = ""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        namespace = os.readlink("/proc/self/ns/pid")
    return hashlib.sha256("\n".join((socket.gethostname(), boot, namespace)).encode()).hexdigest()[:12]


def _lives(process: int, began: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        pass
    return _began(process) == began


def _began(process: int) -> int:
    """When a process began, in ticks; 0 where that cannot be told. Numbers of processes are used again."""
    try:
        state = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0
    ended = state[0] in (b"Z", b"X")  # killed, and nobody has asked after it yet
    return -1 if ended else int(state[19])

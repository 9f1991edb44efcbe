"""Writing that leaves no half-written file behind."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from dereflect.errors import InputError, first_line
from dereflect.leftovers import displaced_name, sweep_once, temporary_name


@contextlib.contextmanager
def writing(path: str | os.PathLike[str], overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary name beside `path`, and rename what was made there to `path` at success.

    The caller creates a file or a folder at the yielded name. After any failure, Ctrl-C included, `path` is
    as it was before and nothing else is left. A file's bytes are on the disk before it gets its name. What
    runs that were killed have left in the folder is removed, see `leftovers`.

    Args:
        path: where to; its folder is made if need be.
        overwrite: replace what is there already.

    Raises:
        FileExistsError: something is at `path` and `overwrite` is off.
        InputError: the folder cannot be written, or the disk is full.
    """
    path = Path(path)
    temporary = path.parent / temporary_name()
    try:
        if not overwrite and os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        _make_folder(path)
        sweep_once(path.parent)
        yield temporary
        move(temporary, path, overwrite)
    except OSError as error:
        if isinstance(error, FileExistsError) and not overwrite:
            raise
        raise InputError(path, f"cannot be written ({first_line(error)})") from error
    finally:
        with contextlib.suppress(OSError):
            if temporary.is_dir():
                shutil.rmtree(temporary)
            else:
                temporary.unlink()


def write_text(text: str, path: str | os.PathLike[str]) -> None:
    """Write UTF-8 text in place of what is there; see `writing`."""
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def move(temporary: Path, path: Path, overwrite: bool = True) -> None:
    """Give a finished file or folder its name, its bytes being on the disk.

    Raises:
        FileExistsError: something is at `path` and `overwrite` is off.
        OSError: it cannot be done.
    """
    if temporary.is_dir():
        _move_folder(temporary, path)
        return
    with temporary.open("r+b") as file:
        os.fsync(file.fileno())
    if overwrite:
        temporary.replace(path)
    else:
        _move_without_replacing(temporary, path)


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # among them FileExistsError: a file has the folder's name
        raise InputError(path, f"cannot be written ({first_line(error)})") from error


def _move_folder(temporary: Path, path: Path) -> None:
    if path.is_dir():  # a folder with something in it cannot be renamed over
        old = path.with_name(displaced_name(path.name))
        path.rename(old)
        try:
            temporary.rename(path)
        except OSError:
            old.rename(path)
            raise
        shutil.rmtree(old)
    else:
        temporary.rename(path)


def _move_without_replacing(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)  # fails where something appeared meanwhile, which a rename would replace
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        os.rename(temporary, path)

"""Where photos come from and go to: a local folder or an object store, behind one small interface."""

from __future__ import annotations

import contextlib
import hashlib
import os
import posixpath
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from dereflect.errors import InputError, MissingExtra, first_line
from dereflect.leftovers import is_left, is_temporary, temporary_name
from dereflect.outputs import BATCH_FOLDER

WHOLE_OBJECT_PUTS = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "memory"})
"""Protocols whose single put appears whole or not at all; elsewhere we write aside and move."""
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
STAGING = f"{BATCH_FOLDER}/staging"
"""Folder, inside a destination that is written to aside and moved, of what is not whole yet."""


@dataclass(frozen=True)
class StoredFile:
    """One file of a store: its path below the root, its size, and what changes when it changes."""

    path: str
    size: int
    version: str


class Store:
    """A folder, local or in an object store.

    Args:
        url: a path, or ``s3://bucket/prefix``, ``gs://``, ``az://`` or any other address that fsspec knows.

    Raises:
        InputError: an address that nothing can open, or an empty one.
        MissingExtra: fsspec, or the package of an object store, is not installed.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        try:
            import fsspec
        except ImportError as error:
            raise MissingExtra("fsspec", "batch", "dereflect batch") from error
        self.url = os.fspath(url)
        if not self.url:  # as of a variable that is not set; it would be the current folder
            raise InputError(None, "an empty word is no folder; give a path or an address")
        self.protocol = self.url.partition("://")[0] if "://" in self.url else "file"
        try:
            if self.protocol == "file" and "://" not in self.url:
                # fsspec would see more than a path in some: `a::b` is a chain of addresses to it.
                self.files, self.root = fsspec.filesystem("file"), self.url
            else:
                self.files, self.root = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            package = _PACKAGES.get(self.protocol)
            hint = f"run pip install {package}" if package else first_line(error)
            raise InputError(self.url, f"this kind of address needs another package; {hint}") from error
        except ValueError as error:
            raise InputError(self.url, f"not an address that can be opened ({first_line(error)})") from error
        self.root = self.root.rstrip("/") or "/"
        self.local = self.protocol in ("file", "local")
        if self.local:
            self.root = os.path.abspath(self.root)

    def __reduce__(self) -> tuple[Any, ...]:
        return Store, (self.url if not self.local else self.root,)

    def __str__(self) -> str:
        return self.url

    def full(self, path: str) -> str:
        """The file system's own name of a path below the root."""
        return posixpath.join(self.root, path) if path else self.root

    def exists(self) -> bool:
        """Whether anything is there.

        Raises:
            InputError: the store gives no answer, e.g. for want of credentials.
        """
        try:
            with _plain_errors():
                return bool(self.files.exists(self.root))
        except OSError as error:
            raise InputError(self.url, f"cannot be reached ({first_line(error)})") from error

    def is_at(self, folder: str, other: Store) -> bool:
        """Whether a folder below the root is the root of another store, however both are spelled."""
        if self.local and other.local:
            try:
                return os.path.samefile(self.full(folder), other.root)
            except OSError:  # one of them is not there
                return False
        return (self.protocol, self.full(folder)) == (other.protocol, other.root)

    def folders(
        self, leave_out: Callable[[str], bool], note: Callable[[str, str], None]
    ) -> Iterator[tuple[str, list[StoredFile]]]:
        """Every folder below the root with its files, one folder at a time, in the order of names.

        Hidden names (and what lies below them) are skipped, and so are links to folders, which may go in
        circles, and destinations of batches.

        Args:
            leave_out: says of a folder below the root whether to pass over it.
            note: told of folders that cannot be listed, with the reason.

        Raises:
            InputError: the root itself cannot be listed.
        """
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            try:
                names, entries = self._list(folder)
            except InputError as error:
                if not folder:
                    raise
                note(folder, error.reason)
                continue
            if BATCH_FOLDER in names:
                if folder:
                    continue
                names.remove(BATCH_FOLDER)
            yield folder, entries
            below = [posixpath.join(folder, name) for name in sorted(names, reverse=True)]
            waiting.extend(path for path in below if not leave_out(path))

    def entries(self, folder: str) -> dict[str, StoredFile]:
        """The files directly in a folder, by their path; none if the folder is not there."""
        try:
            return {entry.path: entry for entry in self._list(folder)[1]}
        except InputError:
            if self.files.exists(self.full(folder)):
                raise
            return {}

    def _list(self, folder: str) -> tuple[list[str], list[StoredFile]]:
        if self.local:
            return self._list_local(folder)
        try:
            with _plain_errors():
                try:
                    infos = self.files.ls(self.full(folder), detail=True, refresh=True)
                except TypeError:  # a file system without a listing cache takes no `refresh`
                    infos = self.files.ls(self.full(folder), detail=True)
        except OSError as error:
            raise InputError(f"{self.url}/{folder}", f"cannot be listed ({first_line(error)})") from error
        folders, entries = [], []
        for info in infos:
            name = posixpath.basename(str(info["name"]).rstrip("/"))
            if not name or name.startswith("."):
                continue
            if info["type"] == "directory":
                folders.append(name)
            else:
                version = info.get("ETag") or info.get("etag") or info.get("mtime") or info.get("created", "")
                entries.append(
                    StoredFile(
                        posixpath.join(folder, name), int(info.get("size") or 0), str(version).strip('"')
                    )
                )
        return folders, sorted(entries, key=lambda entry: entry.path)

    def _list_local(self, folder: str) -> tuple[list[str], list[StoredFile]]:
        folders, entries = [], []
        try:
            with os.scandir(self.full(folder)) as found:
                for item in found:
                    if item.name.startswith("."):
                        continue
                    if item.is_dir(follow_symlinks=False):
                        folders.append(item.name)
                    elif (entry := _local_entry(item, folder)) is not None:
                        entries.append(entry)
        except OSError as error:
            raise InputError(self.full(folder), f"cannot be listed ({first_line(error)})") from error
        return folders, sorted(entries, key=lambda entry: entry.path)

    def read(self, path: str) -> bytes:
        """A file's content.

        Raises:
            OSError: it cannot be read.
        """
        if self.local:
            return Path(self.full(path)).read_bytes()
        with _plain_errors():
            return bytes(self.files.cat_file(self.full(path)))

    def write(self, path: str, content: bytes) -> None:
        """Put a file there, whole or not at all, in place of what may be there already.

        Raises:
            OSError: it cannot be written.
        """
        if self.local:
            self._write_local(path, content)
            return
        target = self.full(path)
        with _plain_errors():
            if self.protocol in WHOLE_OBJECT_PUTS:
                self.files.pipe_file(target, content)
                return
            aside = self.full(f"{STAGING}/{temporary_name()}")
            self.files.makedirs(posixpath.dirname(aside), exist_ok=True)
            self.files.makedirs(posixpath.dirname(target), exist_ok=True)
            self.files.pipe_file(aside, content)
            self.files.mv(aside, target)

    def _write_local(self, path: str, content: bytes) -> None:
        target = Path(self.full(path))
        aside = Path(self.full(STAGING)) / temporary_name()
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with _created(aside) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, target)
        finally:
            with contextlib.suppress(OSError):
                aside.unlink()

    def remove(self, path: str) -> None:
        """Take a file away; it is no fault if it is gone already."""
        with contextlib.suppress(FileNotFoundError):
            if self.local:
                os.remove(self.full(path))
            else:
                self.files.rm_file(self.full(path))

    def clear_staging(self) -> None:
        """Take away what killed writers have left half-written; what others are writing just now stays."""
        staging = self.full(STAGING)
        with contextlib.suppress(OSError):
            for info in self.files.ls(staging, detail=True):
                name = posixpath.basename(str(info["name"]).rstrip("/"))
                if not is_temporary(name) or is_left(name, _changed(info)):
                    with contextlib.suppress(OSError):
                        self.files.rm_file(info["name"])
            self.files.rmdir(staging)  # fails while there is something in it


def _local_entry(item: os.DirEntry[str], folder: str) -> StoredFile | None:
    """A file; None for pipes and devices. A link to nothing is one of no size, whose reading will say why."""
    path = posixpath.join(folder, item.name)
    try:
        state = item.stat()
    except OSError:
        return StoredFile(path, 0, "")
    return StoredFile(path, state.st_size, str(state.st_mtime_ns)) if stat.S_ISREG(state.st_mode) else None


def _created(path: Path) -> BinaryIO:
    """A new file; its folder may be taken away by another run between being made and being used."""
    for _ in range(10):
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            return open(path, "xb")
    return open(path, "xb")


def _changed(info: Mapping[str, Any]) -> float:
    """When a file was changed, in seconds since 1970; now, where the store does not say."""
    when = info.get("mtime") or info.get("LastModified") or info.get("created")
    if isinstance(when, (int, float)):
        return float(when)
    return when.timestamp() if isinstance(when, datetime) else time.time()


def digest(content: bytes) -> str:
    """SHA-256 as hexadecimal text."""
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    """Makes `OSError` of what stores' clients raise of their own (no credentials, no connection)."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(" ".join(f"{type(error).__name__}: {error}".split())) from error

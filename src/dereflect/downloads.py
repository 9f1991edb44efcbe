"""The one downloader: resumed where it was cut, checked, and seen at its place only when whole."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dereflect.errors import InputError, MissingExtra, ModelError, first_line
from dereflect.files import write_text

ReportBytes = Callable[[str, int, int], None]
"""Called as ``report(name, bytes_so_far, bytes_in_all)``; bytes_in_all is 0 until it is known.

A server may not say it, and then only the last call does."""

ATTEMPTS = 5
"""Attempts without a single new byte before giving up."""
BLOCK = 1 << 16
TIMEOUT = 60.0
"""Seconds without an answer."""


def fetch(
    url: str,
    target: Path,
    checksum: str = "",
    *,
    headers: Mapping[str, str] | None = None,
    report: ReportBytes | None = None,
    name: str = "",
    patience: float = 1.0,
) -> Path:
    """Fetch `url` to `target`, unless the right file is there already.

    What a cut download has brought waits beside `target` as a ``.part`` file; the next call goes on from
    there, in this process or another. Processes that want the same file wait for one another.

    Args:
        checksum: ``"sha256:HEX"``, all of its digits or the first eight or more; ``"git:HEX"``, the SHA-1
            by which git names a file; or "" where none is published: then the SHA-256 of what came first is
            kept beside `target` as ``NAME.sha256`` and holds from then on.
        headers: sent along.
        report: told how far it is.
        name: what `report` calls the file; the target's name if "".
        patience: seconds to wait before going on after a cut.

    Raises:
        ModelError: no connection, not found, cut off for good, no space, or a wrong checksum. What has the
            wrong checksum is removed.
        InputError: the folder cannot be written.
    """
    from filelock import FileLock

    if _is_right(target, checksum):
        return target
    lock = target.with_name(target.name + ".lock")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            try:
                if not _is_right(target, checksum):  # another process may have brought it meanwhile
                    download = _Download(url, target, dict(headers or {}), report, name or target.name)
                    _finish(download.run(checksum, patience), target, checksum, url)
            finally:
                lock.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(target, f"cannot be written ({first_line(error)})") from error
    return target


def fetch_from_hub(
    repository: str,
    name: str,
    folder: Path,
    *,
    revision: str | None = None,
    endpoint: str | None = None,
    report: ReportBytes | None = None,
    patience: float = 1.0,
) -> Path:
    """Fetch one file of a Hugging Face repository, checked against the hub's own checksum; see `fetch`.

    Args:
        repository: ``owner/name``.
        name: path of the file in the repository.
        folder: where to put it, with its sub-folders.
        revision: branch, tag or commit; the default branch if None.
        endpoint: address of the hub; ``HF_ENDPOINT`` or the public one if None.

    Raises:
        ModelError: as `fetch`, or ``HF_HUB_OFFLINE`` is set.
        MissingExtra: huggingface-hub is not installed.
    """
    try:
        from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
        from huggingface_hub.utils import build_hf_headers
    except ImportError as error:
        raise MissingExtra("huggingface-hub", "diffusion", "downloading from the hub") from error

    target = folder / name
    url = hf_hub_url(repository, name, revision=revision, endpoint=endpoint)
    if constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise ModelError(url, "not fetched, because HF_HUB_OFFLINE is set; unset it, or give a local folder")
    try:
        found = get_hf_file_metadata(url)
    except Exception as error:
        reason = f"the hub gave no answer ({first_line(error)}); fetch it by hand to {target}"
        raise ModelError(url, reason) from error
    if not found.etag:
        raise ModelError(url, f"the hub names no checksum; fetch it by hand to {target}")
    headers = dict(build_hf_headers())
    if urlsplit(found.location).netloc != urlsplit(url).netloc:
        headers.pop("authorization", None)  # the hub's token is not for the storage that it points to
    kind = "sha256" if len(found.etag) == 64 else "git"
    return fetch(
        found.location,
        target,
        f"{kind}:{found.etag}",
        headers=headers,
        report=report,
        name=name,
        patience=patience,
    )


def show_progress() -> ReportBytes:
    """A report for people: a counter line for each file on a terminal, one line a file elsewhere."""
    finished: set[str] = set()
    terminal = sys.stderr.isatty()

    def show(name: str, done: int, total: int) -> None:
        if terminal:
            of = f" of {total / 1e6:.0f}" if total else ""
            sys.stderr.write(f"\r{name}: {done / 1e6:.0f}{of} MB" + ("\n" if done == total else ""))
            sys.stderr.flush()
        elif done == total and name not in finished:
            finished.add(name)
            sys.stderr.write(f"{name}: {total / 1e6:.0f} MB\n")

    return show


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Download:
    """One file on its way: what is asked of the server, and what has come."""

    def __init__(
        self, url: str, target: Path, headers: dict[str, str], report: ReportBytes | None, name: str
    ) -> None:
        self.url, self.target, self.report, self.name = url, target, report, name
        self.headers = headers | {"Accept-Encoding": "identity"}
        self.host = urlsplit(url).netloc
        self.total = 0
        """Bytes in all, 0 until the server has said it."""
        self.answered = False

    def run(self, checksum: str, patience: float) -> Path:
        """Bring all of it into the ``.part`` file, which is returned."""
        import requests

        part = self._part(checksum)
        failures = 0
        while True:
            have = part.stat().st_size if part.is_file() else 0
            try:
                for done in self._append(part, have):
                    if self.report is not None:
                        self.report(self.name, done, self.total)
                if part.is_file():
                    if self.report is not None and not self.total:
                        self.report(self.name, part.stat().st_size, part.stat().st_size)
                    return part
                problem = "what had come was of another file"
            except requests.RequestException as error:
                problem = self._problem(error)
            if part.is_file() and part.stat().st_size > have:
                failures = 0
                continue
            failures += 1
            if failures >= ATTEMPTS:
                raise ModelError(
                    self.url,
                    f"cut off after {have} of {self.total or 'unknown'} bytes ({problem}); "
                    "give the same command again to go on",
                )
            time.sleep(patience)

    def _part(self, checksum: str) -> Path:
        """The file for what has come so far.

        Its name says of which content it is a part, so that parts of two contents are never joined: by the
        checksum, else by the server's own tag; without either, what is left of an earlier call is removed.
        """
        if not checksum:
            import requests

            try:
                with self._get({}) as answer:
                    tag = answer.headers.get("ETag", "")
            except requests.RequestException as error:
                raise ModelError(self.url, f"{self._problem(error)}; {self._by_hand()}") from error
            if tag and not tag.startswith("W/"):
                self.headers["If-Range"] = tag
                checksum = "tag:" + hashlib.sha256(tag.encode()).hexdigest()
        mark = checksum.partition(":")[2][:12] or "unknown"
        part = self.target.with_name(f"{self.target.name}.{mark}.part")
        if mark == "unknown":
            part.unlink(missing_ok=True)
        return part

    def _get(self, headers: Mapping[str, str]) -> Any:
        import requests

        answer = requests.get(self.url, headers=self.headers | dict(headers), stream=True, timeout=TIMEOUT)
        self.answered = True
        return answer

    def _append(self, part: Path, have: int) -> Iterator[int]:
        """Append the rest to `part`, yielding its size; a server that ignores the range starts anew."""
        import requests

        may_resume = have > 0 and not part.name.endswith(".unknown.part")
        with self._get({"Range": f"bytes={have}-"} if may_resume else {}) as answer:
            if answer.status_code == 416:  # nothing is after `have`
                if answer.headers.get("Content-Range", "").rpartition("/")[2] != str(have):
                    part.unlink()
                return
            answer.raise_for_status()
            goes_on = answer.status_code == 206
            done = have if goes_on else 0
            if length := int(answer.headers.get("Content-Length", 0)):
                self.total = done + length
                self._check_space(length)
            with part.open("ab" if goes_on else "wb") as file:
                for block in answer.iter_content(BLOCK):
                    file.write(block)
                    done += len(block)
                    yield done
            if done < self.total:
                raise requests.ConnectionError("the connection was closed")

    def _check_space(self, needed: int) -> None:
        free = shutil.disk_usage(self.target.parent).free
        if free < needed:
            raise ModelError(
                self.target.parent,
                f"no space for {self.target.name}: {needed / 1e6:.0f} MB are needed, "
                f"{free / 1e6:.0f} MB are free; make room, or set DEREFLECT_CACHE to another folder",
            )

    def _problem(self, error: Any) -> str:
        """What went wrong in words; what another attempt cannot mend is raised at once."""
        import requests

        if isinstance(error, requests.HTTPError):
            status = error.response.status_code
            if status < 500 and status != 429:
                raise ModelError(
                    self.url, f"{self.host} answers {status} {error.response.reason}; {self._by_hand()}"
                ) from error
            return f"{self.host} answers {status} {error.response.reason}"
        if isinstance(error, requests.Timeout):
            return f"{self.host} does not answer"
        if isinstance(error, requests.ConnectionError):
            if not self.answered:
                raise ModelError(self.url, f"no connection to {self.host}; {self._by_hand()}") from error
            return "the connection was closed"
        return first_line(error)

    def _by_hand(self) -> str:
        return f"fetch it by hand and put it at {self.target}"


def _finish(part: Path, target: Path, checksum: str, url: str) -> None:
    if checksum and not _matches(part, checksum):
        part.unlink()
        raise ModelError(url, "what came has the wrong checksum and was removed; give the command again")
    if not checksum:
        write_text(f"{sha256(part)}  {target.name}\n", _record(target))
    part.replace(target)


def _is_right(target: Path, checksum: str) -> bool:
    """Whether the file is there and is what it should be; the first sight of one without checksum is kept."""
    if not target.is_file():
        return False
    if checksum:
        return _matches(target, checksum)
    record = _record(target)
    if not record.is_file():
        write_text(f"{sha256(target)}  {target.name}\n", record)
    elif not _matches(target, f"sha256:{(record.read_text(encoding='utf-8').split() or ['?'])[0]}"):
        raise ModelError(
            target,
            f"wrong checksum: not the file that was first used (its sha256 is in {record.name}); "
            "remove both to fetch it anew",
        )
    return True


def _record(target: Path) -> Path:
    return target.with_name(target.name + ".sha256")


def _matches(path: Path, checksum: str) -> bool:
    kind, _, digits = checksum.partition(":")
    if kind == "sha256" and len(digits) >= 8:
        return sha256(path).startswith(digits.lower())
    if kind == "git":
        digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
        return digest.hexdigest() == digits.lower()
    raise ValueError(f"'{checksum}' is no checksum: give sha256:HEX or git:HEX")

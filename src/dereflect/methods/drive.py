"""Files on Google Drive, which answers with a page of questions instead of a large file: through gdown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from dereflect.downloads import ReportBytes
from dereflect.errors import InputError, MissingExtra, ModelError, first_line

HOST = "drive.google.com"
TIMEOUT = 60.0
"""Seconds without an answer."""
RETRIES = 4


def is_on_drive(url: str) -> bool:
    """Whether this is the address at which a browser shows a file of Google Drive."""
    return bool(_FILE.match(url))


def fetch_from_drive(url: str, target: Path, report: ReportBytes | None = None) -> Path:
    """Fetch a public file to `target`, whole or not at all; what a cut leaves waits beside it as ``.part``.

    Args:
        url: as a browser shows it, ``https://drive.google.com/file/d/ID/view``.
        target: where to; what is there is kept.
        report: told how far it is.

    Raises:
        MissingExtra: gdown is not installed.
        ModelError: no connection, or Google does not give the file; says how to fetch it by hand.
        InputError: the folder cannot be written.
    """
    if target.is_file():
        return target
    by_hand = f"or open {url} in a browser and put the file at {target}"
    match = _FILE.match(url)
    if match is None:
        raise ModelError(url, "not an address of a file on Google Drive")
    try:
        import gdown
    except ImportError as error:
        missing = MissingExtra("gdown", "drive", "a download from Google Drive", target.name)
        missing.reason += f", {by_hand}"
        raise missing from error
    import requests
    from filelock import FileLock

    lock = target.with_name(target.name + ".lock")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            try:
                if not target.is_file():  # another process may have brought it meanwhile
                    _download(gdown, match[1], target, report)
            finally:
                lock.unlink(missing_ok=True)
    except PermissionError as error:
        raise InputError(target, f"cannot be written ({first_line(error)})") from error
    except requests.ConnectionError as error:
        raise ModelError(url, f"no connection to {HOST}; go on later, {by_hand}") from error
    except Exception as error:  # gdown's own, and those of requests
        raise ModelError(
            url, f"Google Drive gave no file ({first_line(error)}); go on later, {by_hand}"
        ) from error
    if not target.is_file() or _is_page(target):
        target.unlink(missing_ok=True)
        raise ModelError(url, f"Google Drive gave a page instead of the file; try later, {by_hand}")
    return target


_FILE = re.compile(rf"https://{re.escape(HOST)}/file/d/([\w-]+)(?:/|$)")


def _download(gdown: Any, identifier: str, target: Path, report: ReportBytes | None) -> None:
    untold = True

    def tell(done: int, total: int | None) -> None:
        nonlocal untold
        untold = not total
        if report is not None:
            report(target.name, done, total or 0)

    gdown.download(
        id=identifier,
        output=str(target),
        quiet=True,
        use_cookies=False,
        resume=True,
        progress=tell,
        timeout=TIMEOUT,
        retries=RETRIES,
    )
    if report is not None and untold and target.is_file():
        report(target.name, target.stat().st_size, target.stat().st_size)


def _is_page(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(64).lstrip()[:1] == b"<"

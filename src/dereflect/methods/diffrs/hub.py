"""One file from the Hugging Face hub: resumed where it was cut, checked against the hub's own checksum."""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from dereflect.errors import MissingExtra, ModelError

Report = Callable[[str, int, int], None]
"""Called as ``report(name, bytes_so_far, bytes_in_all)``."""

ATTEMPTS = 5
"""Attempts without a single new byte before giving up."""


def fetch_file(
    repository: str,
    name: str,
    folder: Path,
    endpoint: str | None = None,
    report: Report | None = None,
    patience: float = 1.0,
) -> Path:
    """Fetch ``name`` of a repository into `folder`, unless the right file is there already.

    What a cut download has brought stays on disk as ``<name>.<checksum>.part``, and the next call goes on
    from there, in this process or another. (The hub's own client starts a file anew.)

    Args:
        repository: ``owner/name``.
        name: path of the file in the repository.
        folder: where to put it, with its sub-folders.
        endpoint: address of the hub; ``HF_ENDPOINT`` or the public one if None.
        report: told how far it is.
        patience: seconds to wait before going on after a cut.

    Raises:
        ModelError: offline, not found, cut off for good, or a wrong checksum.
    """
    target = folder / name
    url, checksum, size, location, headers = _look_up(repository, name, target, endpoint)
    if target.is_file() and target.stat().st_size == size and _digest(target, checksum) == checksum:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{checksum[:12]}.part")
    failures = 0
    while (have := part.stat().st_size if part.is_file() else 0) < size:
        try:
            for done in _append(location, headers, part, have):
                if report is not None:
                    report(name, done, size)
            problem = "the connection was closed"
        except (OSError, http.client.HTTPException) as error:
            problem = str(error) or type(error).__name__
        if part.is_file() and part.stat().st_size > have:
            failures = 0
            continue
        failures += 1
        if failures >= ATTEMPTS:
            raise ModelError(
                f"{url}: cut off after {have} of {size} bytes ({problem}); "
                "give the same command again to go on"
            )
        time.sleep(patience)
    if part.stat().st_size != size or _digest(part, checksum) != checksum:
        part.unlink()
        raise ModelError(f"{url}: what came has the wrong checksum and was removed; give the command again")
    part.replace(target)
    return target


def _look_up(
    repository: str, name: str, target: Path, endpoint: str | None
) -> tuple[str, str, int, str, dict[str, str]]:
    """Address, checksum, size, and where and with which headers to get the bytes."""
    try:
        from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
        from huggingface_hub.utils import build_hf_headers
    except ImportError as error:
        raise MissingExtra("huggingface-hub", "diffusion", "downloading from the hub") from error

    url = hf_hub_url(repository, name, endpoint=endpoint)
    if constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise ModelError(
            f"{url}: not fetched, because HF_HUB_OFFLINE is set; unset it, or give a local folder"
        )
    try:
        found = get_hf_file_metadata(url)
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{url}: the hub gave no answer ({first}); fetch it by hand to {target}") from error
    if not found.etag or found.size is None:
        raise ModelError(f"{url}: the hub names no checksum; fetch it by hand to {target}")
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if urllib.parse.urlparse(found.location).netloc != urllib.parse.urlparse(url).netloc:
        headers.pop("authorization", None)  # the hub's token is not for the storage that it points to
    return url, found.etag, found.size, found.location, headers


def _append(url: str, headers: dict[str, str], part: Path, have: int) -> Iterator[int]:
    """Append the rest of `url` to `part`, yielding its size; a server that ignores the range starts anew."""
    request = urllib.request.Request(url, headers=headers | ({"Range": f"bytes={have}-"} if have else {}))
    with urllib.request.urlopen(request, timeout=60) as answer:
        goes_on = have > 0 and answer.status == 206
        done = have if goes_on else 0
        with part.open("ab" if goes_on else "wb") as file:
            while block := answer.read(1 << 20):
                file.write(block)
                done += len(block)
                yield done


def _digest(path: Path, checksum: str) -> str:
    """The file's digest of the kind that the hub's `checksum` is: SHA-256 of large files, git's SHA-1 of
    small ones.
    """
    if len(checksum) == 64:
        digest = hashlib.sha256()
    else:
        digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

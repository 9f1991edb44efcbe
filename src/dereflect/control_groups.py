"""The control groups of this process (Linux): where a container or a batch job has its limits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def folders(controller: str) -> Iterator[tuple[Path, int]]:
    """Folders of this process's groups and of those around them, and the version of the interface in each.

    Args:
        controller: of version 1, which has a tree for each: ``memory``, ``cpu``.
    """
    try:
        lines = [line.split(":", 2) for line in OWN.read_text().splitlines()]
    except OSError:
        lines = []
    paths = {kind: line[2] for line in lines if len(line) == 3 for kind in line[1].split(",")}
    for root, kind, version in ((ROOT, "", 2), (ROOT / controller, controller, 1)):
        # In a container the own group is mounted at the root, whatever its path outside is.
        own = PurePosixPath(paths.get(kind, "/").lstrip("/"))
        for group in (own, *own.parents):
            yield root / group, version

"""What `dereflect --version` says, found out without importing torch, which takes seconds."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from dereflect._version import __version__

NVIDIA = Path("/proc/driver/nvidia")


def version_line() -> str:
    """The versions of dereflect, torch and Python, and the device that would be used."""
    python = ".".join(str(part) for part in sys.version_info[:3])
    return f"dereflect {__version__}, torch {_torch_version()}, Python {python}, device {device()}"


def device() -> str:
    """The device that ``--device auto`` takes, as far as can be told without trying it.

    A driver that does not suit the installed torch is found out only at work.
    """
    if _torch_value("cuda") and os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1"):
        if (NVIDIA / "version").exists():
            return f"cuda ({_nvidia_name()})"
        library = Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32" / "nvcuda.dll"
        if sys.platform == "win32" and library.exists():
            return "cuda"
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return "mps"
    return f"cpu ({_cores()} cores)"


def _torch_version() -> str:
    """As torch itself says it: its package may leave out the kind of build."""
    try:
        return _torch_value("__version__") or version("torch")
    except PackageNotFoundError:
        return "not installed"


def _torch_value(name: str) -> str:
    """A text from torch's small file of versions; empty where it is not there or None."""
    found = find_spec("torch")
    if found is None or found.origin is None:
        return ""
    try:
        lines = (Path(found.origin).parent / "version.py").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    for line in lines:
        key, equals, value = line.partition("=")
        if equals and key.partition(":")[0].strip() == name and value.strip()[:1] in ("'", '"'):
            return value.strip().strip("'\"")
    return ""


def _nvidia_name() -> str:
    """Name of the first GPU."""
    for information in sorted(NVIDIA.glob("gpus/*/information")):
        try:
            lines = information.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith("Model:"):
                return line.removeprefix("Model:").strip()
    return "NVIDIA"


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1

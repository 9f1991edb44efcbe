"""Which device and number format to compute in, why, and how much memory there is."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from dereflect import control_groups
from dereflect.errors import InputError

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(wanted: str = "auto") -> tuple[torch.device, str]:
    """The device to use, and a remark where a GPU is there but not used (else "").

    Args:
        wanted: ``auto``, or a device that must be used: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Raises:
        InputError: the wanted device is not there.
    """
    kind = wanted.partition(":")[0]
    if kind not in DEVICES:
        raise InputError(wanted, f"unknown; one of {', '.join(DEVICES)}", option="device")
    if kind == "cuda":
        if not torch.cuda.is_available():
            reason = _why_no_cuda() or "no NVIDIA GPU was found"
            raise InputError(wanted, f"cannot be used: {reason}", option="device")
        if ":" in wanted and wanted not in {f"cuda:{index}" for index in range(torch.cuda.device_count())}:
            raise InputError(wanted, f"no such GPU; {torch.cuda.device_count()} were found", option="device")
        return torch.device(wanted), ""
    if kind == "mps":
        if not torch.backends.mps.is_available():
            raise InputError(
                wanted,
                "cannot be used: it needs a Mac with Apple silicon and macOS 12.3 or later",
                option="device",
            )
        return torch.device("mps"), ""
    if kind == "cpu":
        there = torch.cuda.is_available() or torch.backends.mps.is_available()
        return torch.device("cpu"), "a GPU is present and not used: the CPU was asked for" if there else ""
    if torch.cuda.is_available():
        return torch.device("cuda"), ""
    if torch.backends.mps.is_available():
        return torch.device("mps"), ""
    reason = _why_no_cuda()
    return torch.device("cpu"), f"an NVIDIA GPU is present and not used: {reason}" if reason else ""


def _why_no_cuda() -> str:
    """Why an NVIDIA GPU that seems to be there cannot be used; "" where none seems to be there."""
    if not Path("/proc/driver/nvidia/version").exists() and shutil.which("nvidia-smi") is None:
        return ""
    if torch.version.cuda is None:
        return (
            f"this torch ({torch.__version__}) is built without CUDA; see pytorch.org for the build with it"
        )
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides it"
    return f"its driver does not suit this torch (built for CUDA {torch.version.cuda})"


def choose_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """The number format to compute in on a device.

    Args:
        wanted: ``auto`` (bfloat16 where the device computes in it natively, else float32), or a format's
            name.
        device: where the network will run.

    Raises:
        InputError: an unknown format, or one that the device cannot compute in.
    """
    if wanted == "auto":
        return torch.bfloat16 if _computes_bfloat16(device) else torch.float32
    if wanted not in DTYPES:
        raise InputError(wanted, f"unknown; one of auto, {', '.join(DTYPES)}", option="dtype")
    dtype = DTYPES[wanted]
    if dtype is torch.float16 and device.type == "cpu":
        raise InputError(
            wanted,
            "cannot be used on the CPU, which has no arithmetic for it; take bfloat16 or auto",
            option="dtype",
        )
    if dtype is torch.bfloat16 and device.type == "cuda" and not torch.cuda.is_bf16_supported(False):
        raise InputError(
            wanted,
            "cannot be used on this GPU, which is too old for it; take float16 or auto",
            option="dtype",
        )
    return dtype


def _computes_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        return any(bool(getattr(torch.cpu, check, lambda: False)()) for check in checks)
    return False


def has_avx512() -> bool:
    """Whether the processor has AVX-512, so that encoders take their code for it."""
    return bool(getattr(torch.cpu, "_is_avx512_supported", lambda: False)())


def available_memory(device: torch.device) -> int:
    """Bytes that can be had on a device right now without driving others out (a container's limit counts)."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return min(_free_memory(), _container_memory())


def _free_memory() -> int:
    if sys.platform == "win32":

        class Status(ctypes.Structure):
            _fields_ = (
                ("length", ctypes.c_ulong),
                ("load", ctypes.c_ulong),
                *((name, ctypes.c_ulonglong) for name in ("total", "free", "a", "b", "c", "d", "e")),
            )

        status = Status()
        status.length = ctypes.sizeof(status)
        ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
        return int(status.free)
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return (
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    )  # macOS gives no number of free pages


def _container_memory() -> int:
    """Bytes left under the limits of this process's control groups; a very large number without limit.

    A group counts the contents of files that it has read as used; those that the kernel drops first are not.
    """
    left = [sys.maxsize]
    for folder, limit, used, cache in _memory_groups():
        with contextlib.suppress(OSError, ValueError):  # no such group, or "max"
            most, now = (int((folder / name).read_text()) for name in (limit, used))
            left.append(max(0, most - now + _statistic(folder / "memory.stat", cache)))
    return min(left)


def _memory_groups() -> Iterator[tuple[Path, str, str, str]]:
    """Folders of this process's memory groups and of those around them, with the names of what they tell."""
    names = {
        2: ("memory.max", "memory.current", "inactive_file"),
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    }
    for folder, version in control_groups.folders("memory"):
        yield folder, *names[version]


def _statistic(file: Path, name: str) -> int:
    for line in file.read_text().splitlines():
        if line.startswith(f"{name} "):
            return int(line.split()[1])
    return 0


def bound_kernel_cache() -> None:
    """Let oneDNN keep the kernels of a few picture sizes, not of hundreds: many sizes pile up.

    Works until the process runs its first convolution, and leaves a choice of the user's alone.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")


def release_memory() -> None:
    """Give freed memory back to the system now; glibc would keep what lies between blocks still in use."""
    if _trim is not None:
        _trim(0)


_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None

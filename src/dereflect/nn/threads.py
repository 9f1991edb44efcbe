"""Run a compiled kernel on the threads that PyTorch computes with.

PyTorch's workers spin for some milliseconds after every parallel operation, waiting for the next. Threads of
one's own would share the processors with them, and be hardly faster than one thread. So kernels are handed
to the same OpenMP library; where none is found, to a pool of threads.
"""

from __future__ import annotations

import ctypes
import re
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dereflect.nn.simd.table import packed

_C_KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@lru_cache(maxsize=1)
def _openmp() -> Any:
    """The entry of the loaded OpenMP library that runs a function on all threads, or None."""
    for path in loaded("gomp|iomp5|omp"):
        try:
            entry = ctypes.CDLL(path).GOMP_parallel
        except (OSError, AttributeError):
            continue
        entry.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        entry.restype = None
        return entry
    return None


def loaded(names: str) -> list[str]:
    """Paths of loaded libraries, those that came with PyTorch first.

    Args:
        names: a pattern of what follows "lib" in their names.
    """
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return []
    return sorted(set(re.findall(rf"/\S*lib(?:{names})[-.]\S*", maps)), key=_outside_of_torch)


def _outside_of_torch(path: str) -> bool:
    return "torch" not in path


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="kernel")


def run(kernel: Any, tasks: int, table: NamedTuple) -> None:
    """Run a kernel over tasks 0..tasks-1.

    Args:
        kernel: of `dereflect.nn.simd.kernel.kernel`. Each thread takes tasks until there are none.
        tasks: how many.
        table: the kernel's arguments; its tensors are read and written where they lie.
    """
    record = packed(table, tasks)
    threads = max(1, min(torch.get_num_threads(), tasks))
    address = record.ctypes.data
    entry = _openmp() if threads > 1 else None
    if entry is not None:
        entry(kernel.address, address, threads, 0)
        return
    call = _C_KERNEL(kernel.address)
    if threads == 1:
        call(address)
        return
    for job in [_pool(threads).submit(call, address) for _ in range(threads)]:
        job.result()

"""The vector code that kernels are made of, and how long what was compiled of it is kept."""

import gc
import importlib
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

pytest.importorskip("numba")

from numba import carray
from numba.extending import intrinsic

from dereflect.nn import simd, threads
from dereflect.nn.simd import kernel as kernels
from dereflect.nn.simd.kernel import kernel
from dereflect.nn.simd.vectors import _operation, floats_at, full, next_task, put_full, vector

SOURCES = Path(simd.__file__).parents[2]


class Sixteens(NamedTuple):
    source: Tensor
    target: Tensor


@intrinsic
def exp(typing, a):
    return _operation(vector, (vector,), lambda lanes, builder, a: lanes.exp(a))


@kernel(Sixteens)
def exp_sixteens(pointer):
    t = carray(pointer, 1)[0]
    while True:
        task = next_task(pointer)
        if task >= t.tasks:
            return
        put_full(t.target + 64 * task, exp(full(t.source + 64 * task)))


def test_exponential_is_exact_to_a_millionth():
    x = torch.linspace(-87, 88, 16 * 20000)
    found = torch.empty_like(x)
    threads.run(exp_sixteens, 20000, Sixteens(x, found))
    assert (found.double() / x.double().exp() - 1).abs().max() < 1e-6


class Mixed(NamedTuple):
    count: int
    eps: float
    flag: bool
    absent: Tensor | None
    target: Tensor


@kernel(Mixed)
def write_fields(pointer):
    t = carray(pointer, 1)[0]
    while True:
        task = next_task(pointer)
        if task >= t.tasks:
            return
        target = carray(floats_at(t.target), (4,))
        target[0], target[1], target[2], target[3] = t.count, t.eps, t.flag, t.absent


def test_kernels_read_a_table_by_name():
    found = torch.empty(4)
    threads.run(write_fields, 1, Mixed(count=7, eps=0.25, flag=True, absent=None, target=found))
    assert found.tolist() == [7, 0.25, 1, 0]


ROOM = """
from typing import NamedTuple
from numba import carray
from dereflect.nn.simd.kernel import kernel


class Nothing(NamedTuple):
    count: int


@kernel(Nothing)
def nothing(pointer):
    pass
"""


def test_compiled_code_is_kept_until_a_source_that_it_inlines_changes(tmp_path, monkeypatch):
    shared, room = tmp_path / "simd", tmp_path / "room"
    for folder in (shared, room):
        folder.mkdir()
    monkeypatch.setattr(kernels, "SHARED", shared)
    (room / "room_kernels.py").write_text(ROOM)
    monkeypatch.syspath_prepend(room)

    def came_from_disk() -> bool:
        # As a new process finds it: nothing of the last one's is left, and Numba can import it by name.
        sys.modules.pop("room_kernels", None)
        gc.collect()
        return importlib.import_module("room_kernels").nothing.cache_hits == 1

    assert not came_from_disk()
    assert came_from_disk()
    for source in (shared / "lanes.py", room / "steps.py"):
        for content in ("a = 1", "a = 2"):
            source.write_text(content)
            assert not came_from_disk(), (source, content)
            assert came_from_disk(), (source, content)


def test_no_kernel_goes_around_that_cache():
    sources = [path.read_text() for path in SOURCES.rglob("*.py")]
    assert sum("@kernel(" in source for source in sources) >= 2
    assert not any("cache=True" in source for source in sources)

"""How much memory there is, inside a container or a batch job, too."""

import sys
from pathlib import Path

import pytest
import torch

from dereflect import control_groups, devices
from dereflect.devices import available_memory

CPU = torch.device("cpu")
FREE = 64_000_000_000
NO_LIMIT = 9223372036854771712  # what version 1 says where there is none


@pytest.fixture
def machine(monkeypatch, tmp_path) -> Path:
    """A machine with 64 GB free whose control groups a test may write below the returned folder."""
    monkeypatch.setattr(devices, "_free_memory", lambda: FREE)
    monkeypatch.setattr(control_groups, "ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(control_groups, "OWN", tmp_path / "own")
    return tmp_path


def group(folder: Path, limit: object, used: int, cache: int = 0, version: int = 2) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if version == 2:
        names, statistic = ("memory.max", "memory.current"), "inactive_file"
    else:
        names, statistic = ("memory.limit_in_bytes", "memory.usage_in_bytes"), "total_inactive_file"
    for name, value in zip(names, (limit, used), strict=True):
        (folder / name).write_text(f"{value}\n")
    (folder / "memory.stat").write_text(f"anon 5\nfile {2 * cache}\n{statistic} {cache}\npgfault 7\n")


def test_without_control_groups_the_free_memory_counts(machine):
    assert available_memory(CPU) == FREE


@pytest.mark.parametrize(("version", "root"), [(2, ""), (1, "memory")])
def test_a_container_s_limit_counts(machine, version, root):
    (machine / "own").write_text("0::/\n")
    group(machine / "cgroup" / root, 4_000_000_000, 1_000_000_000, version=version)
    assert available_memory(CPU) == 3_000_000_000


def test_a_group_without_limit_bounds_nothing(machine):
    (machine / "own").write_text("0::/job\n")
    group(machine / "cgroup" / "job", "max", 1_000_000_000)
    group(machine / "cgroup" / "memory", NO_LIMIT, 1_000_000_000, version=1)
    assert available_memory(CPU) == FREE


@pytest.mark.parametrize(
    ("version", "own", "root"),
    [
        (2, "0::/slurm/job_7/step_0\n", "cgroup"),
        (1, "9:cpu:/\n4:hugetlb,memory:/slurm/job_7/step_0\n0::/\n", "cgroup/memory"),
    ],
)
def test_the_tightest_of_the_own_group_and_those_around_it_counts(machine, version, own, root):
    (machine / "own").write_text(own)
    base = machine / root / "slurm"
    group(base / "job_7" / "step_0", "max" if version == 2 else NO_LIMIT, 1_000, version=version)
    group(base / "job_7", 8_000_000_000, 1_000_000_000, version=version)
    group(base, 32_000_000_000, 2_000_000_000, version=version)
    group(base / "job_8", 1_000, 1_000, version=version)  # another job's
    assert available_memory(CPU) == 7_000_000_000


@pytest.mark.parametrize(("version", "root"), [(2, ""), (1, "memory")])
def test_file_contents_that_the_kernel_may_drop_count_as_free(machine, version, root):
    (machine / "own").write_text("0::/\n")
    group(machine / "cgroup" / root, 4_000_000_000, 3_900_000_000, cache=2_000_000_000, version=version)
    assert available_memory(CPU) == 2_100_000_000


def test_a_group_over_its_limit_leaves_nothing(machine):
    (machine / "own").write_text("0::/\n")
    group(machine / "cgroup", 1_000, 2_000)
    assert available_memory(CPU) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_this_machine_has_some_memory():
    assert 1_000_000 < available_memory(CPU) < sys.maxsize

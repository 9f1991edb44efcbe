"""How many cores there are for us: affinity, quotas of containers, and what other programs take."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dereflect import control_groups, cores

linux = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="Linux tells it")


@pytest.fixture
def machine(monkeypatch, tmp_path) -> Path:
    """A machine of eight cores whose control groups and statistics a test may write."""
    monkeypatch.setattr(cores, "allowed", lambda: 8)
    monkeypatch.setattr(control_groups, "ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(control_groups, "OWN", tmp_path / "own")
    (tmp_path / "own").write_text("0::/slurm/job\n4:cpu,cpuacct:/slurm/job\n")
    return tmp_path


def grant(folder: Path, text: str, version: int = 2) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if version == 2:
        (folder / "cpu.max").write_text(f"{text}\n")
    else:
        for name, value in zip(("quota", "period"), text.split(), strict=True):
            (folder / f"cpu.cfs_{name}_us").write_text(f"{value}\n")


def test_without_a_quota_every_allowed_core_counts(machine):
    grant(machine / "cgroup", "max 100000")
    grant(machine / "cgroup" / "cpu", "-1 100000", version=1)
    assert cores.available() == 8


@pytest.mark.parametrize(
    ("text", "count"),
    [("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1), ("9900000 100000", 8)],
)
@pytest.mark.parametrize(("version", "root"), [(2, "cgroup"), (1, "cgroup/cpu")])
def test_a_quota_bounds_the_cores(machine, text, count, version, root):
    grant(machine / root / "slurm", text, version)
    grant(machine / root / "slurm" / "other", "100000 100000", version)  # another job's
    assert cores.available() == count


@pytest.mark.parametrize("set_by_user", ["OMP_NUM_THREADS", "MKL_NUM_THREADS", ""])
def test_torch_begins_with_the_cores_of_a_quota_unless_the_user_says_otherwise(
    machine, monkeypatch, set_by_user
):
    grant(machine / "cgroup", "300000 100000")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    environment = {set_by_user: "5"} if set_by_user else {}
    cores.settle(environment)
    assert environment == ({set_by_user: "5"} if set_by_user else {"OMP_NUM_THREADS": "3"})


def test_without_a_quota_nothing_is_set(machine, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    environment: dict[str, str] = {}
    cores.settle(environment)
    assert environment == {}


@linux
def test_what_others_take_is_told_from_what_we_take(monkeypatch, tmp_path):
    first = min(os.sched_getaffinity(0))
    tick = os.sysconf("SC_CLK_TCK")
    clock = {"now": 100.0, "own": 0.0}
    monkeypatch.setattr(cores, "STATISTICS", tmp_path / "stat")
    monkeypatch.setattr(cores.time, "monotonic", lambda: clock["now"])
    monkeypatch.setattr(cores.os, "times", lambda: os.times_result((clock["own"], 0.0, 0.0, 0.0, 0.0)))
    monkeypatch.setattr(cores.os, "getpriority", lambda *_: clock.get("nice", 0))

    def machine(user: float, nice: float) -> None:
        foreign = f"cpu{first + 1000} 99999 0 99999 0 0 0 0 0 0 0"  # a core that we may not use
        own = (
            f"cpu{first} {round(user * tick)} {round(nice * tick)} 0 {round(clock['now'] * tick)} 0 0 0 0 0 0"
        )
        (tmp_path / "stat").write_text(f"cpu 1 1 1 1\n{own}\n{foreign}\nintr 5\n")

    machine(user=50, nice=3)
    meter = cores.CoreMeter()
    clock.update(now=100.1)
    assert meter.others() is None  # too soon
    clock.update(now=104.0, own=3.0)
    machine(user=55, nice=7)
    assert meter.others() == pytest.approx((5 - 3) / 4)  # the four seconds of low priority apart
    clock.update(now=106.0, own=3.5, nice=10)
    meter = cores.CoreMeter()
    clock.update(now=108.0, own=4.0)
    machine(user=55, nice=8)
    assert meter.others() == pytest.approx((1 - 0.5) / 2)  # as one of low priority, they count


@linux
def test_a_busy_program_is_seen():
    meter = cores.CoreMeter()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            looks = 0
            while (meter.others() or 0) < 0.05:
                looks += 1
                assert looks < 200
                cores.time.sleep(0.3)
        finally:
            busy.kill()

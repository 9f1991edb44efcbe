"""Threads wait shortly while other programs are busy, and only then; results stay as they are."""

import os

import pytest
import torch

from dereflect import cores
from dereflect.nn import waiting

pytestmark = pytest.mark.skipif(waiting._gomp() is None, reason="this PyTorch has another OpenMP library")


@pytest.fixture
def taken(monkeypatch):
    """Set what others take of four cores, and make PyTorch compute with all of them."""
    for name in waiting._CHOSEN:
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    monkeypatch.setattr(cores, "allowed", lambda: 4)
    told: list[float | None] = []
    monkeypatch.setattr(cores.METER, "others", lambda: told.pop(0))
    torch.set_num_threads(4)
    waiting._forget()
    yield told
    if waiting._waiting.sleepers is not None:
        waiting._waiting.sleepers.leave()
    waiting._forget()
    torch.set_num_threads(before)


def look(taken: list[float | None], cores_taken: float | None) -> bool:
    """Whether there are sleepers after a look at what others take."""
    taken[:] = [cores_taken]
    waiting.suit_machine()
    return waiting._waiting.sleepers is not None


def test_sleepers_are_kept_while_others_are_busy(taken):
    seen = [look(taken, cores_taken) for cores_taken in (0.1, 0.8, None, 0.2, 0.1, 0.2, 2.0)]
    assert seen == [False, True, True, True, False, False, True]


def threads() -> int:
    """Threads of this process, once their number has stayed: the system ends them in its own time."""
    counts = [0, 1]
    while len(set(counts[-5:])) > 1 or len(counts) < 7:
        cores.time.sleep(0.02)
        counts.append(len(os.listdir("/proc/self/task")))
    return counts[-1]


def test_there_is_one_for_each_core_and_they_leave(taken):
    before = threads()
    assert look(taken, 1.0)
    assert threads() == before + 4  # one of the team leads it
    assert not look(taken, 0.0)
    assert threads() == before


def test_cores_that_we_leave_free_are_nobody_s_loss(taken):
    torch.set_num_threads(2)
    assert not look(taken, 2.1)
    assert look(taken, 2.4)


@pytest.mark.parametrize("name", waiting._CHOSEN)
def test_the_user_s_own_choice_wins(taken, monkeypatch, name):
    monkeypatch.setenv(name, "PASSIVE" if name == "OMP_WAIT_POLICY" else "5")
    assert not look(taken, 3.0)


def test_one_thread_waits_for_none(taken):
    torch.set_num_threads(1)
    assert not look(taken, 3.0)


def test_results_keep_every_bit(taken):
    values = torch.randn(3, 257, 129, generator=torch.Generator().manual_seed(0))
    kernel = torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(1))

    def result() -> torch.Tensor:
        return torch.nn.functional.conv2d(values[None], kernel).softmax(1).cumsum(2)

    calm = result()
    assert look(taken, 3.0)
    assert torch.equal(result(), calm)


def test_a_forked_process_begins_anew(taken):
    assert look(taken, 3.0)
    child = os.fork()
    if not child:
        os._exit(0 if waiting._waiting.sleepers is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

"""Threads that are made to wait shortly wait shortly; results stay as they are."""

import os
import time

import pytest
import torch

from dereflect import cores
from dereflect.nn import waiting

pytestmark = pytest.mark.skipif(waiting._gomp() is None, reason="this PyTorch has another OpenMP library")


@pytest.fixture(autouse=True)
def four_cores(monkeypatch):
    """Four cores, all of which PyTorch computes with."""
    before = torch.get_num_threads()
    monkeypatch.setattr(cores, "allowed", lambda: 4)
    torch.set_num_threads(4)
    yield
    waiting.wait_shortly(False)
    torch.set_num_threads(before)


def threads() -> set[str]:
    """Threads of this process, once they have stayed the same: the system ends them in its own time."""
    found: list[set[str]] = []
    while len(found) < 5 or any(each != found[-1] for each in found[-5:]):
        time.sleep(0.02)
        found.append(set(os.listdir("/proc/self/task")))
    return found[-1]


def test_there_is_a_sleeper_for_each_core_and_they_leave():
    before = threads()
    waiting.wait_shortly(True)
    waiting.wait_shortly(True)  # once is enough
    sleepers = threads() - before  # not their number: threads of other tests may end meanwhile
    assert len(sleepers) == 4  # one of the team leads it
    waiting.wait_shortly(False)
    assert not sleepers & threads()


def test_results_keep_every_bit():
    values = torch.randn(3, 257, 129, generator=torch.Generator().manual_seed(0))
    kernel = torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(1))

    def result() -> torch.Tensor:
        return torch.nn.functional.conv2d(values[None], kernel).softmax(1).cumsum(2)

    calm = result()
    waiting.wait_shortly(True)
    assert torch.equal(result(), calm)


def test_a_forked_process_begins_anew():
    waiting.wait_shortly(True)
    child = os.fork()
    if not child:
        os._exit(1 if waiting.waits_shortly() else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

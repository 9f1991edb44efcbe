"""While others are busy PyTorch's threads wait shortly, and some stay away where that changes nothing."""

import threading

import numpy as np
import pytest
import torch

import dereflect
from dereflect import cores
from dereflect.nn import sharing, waiting


@pytest.fixture
def taken(monkeypatch):
    """Set what others take of four cores, and make PyTorch compute with all of them."""
    for name in (*waiting._CHOSEN, *cores._THREADS):
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    monkeypatch.setattr(cores, "allowed", lambda: 4)
    told: list[float | None] = []
    monkeypatch.setattr(cores.METER, "others", lambda: told.pop(0) if told else None)
    torch.set_num_threads(4)
    monkeypatch.setattr(sharing, "_share", sharing._Share())
    yield told
    waiting.wait_shortly(False)
    torch.set_num_threads(before)


def waits_shortly(taken: list[float | None], cores_taken: float | None) -> bool:
    taken[:] = [cores_taken]
    sharing.suit_machine()
    return waiting.waits_shortly()


def threads(taken: list[float | None], cores_taken: float | None) -> int:
    """At work that leaves room, after a look at what others take."""
    taken[:] = [cores_taken]
    with sharing.leaving_room():
        return torch.get_num_threads()


needs_gomp = pytest.mark.skipif(waiting._gomp() is None, reason="this PyTorch has another OpenMP library")


@needs_gomp
def test_threads_wait_shortly_while_others_are_busy(taken):
    seen = [waits_shortly(taken, cores_taken) for cores_taken in (0.1, 0.8, None, 0.2, 0.1, 0.2, 2.0)]
    assert seen == [False, True, True, True, False, False, True]


@needs_gomp
def test_cores_that_we_leave_free_are_nobody_s_loss(taken):
    torch.set_num_threads(2)
    assert not waits_shortly(taken, 2.1)
    assert waits_shortly(taken, 2.4)


@pytest.mark.parametrize("name", waiting._CHOSEN)
def test_the_user_s_own_way_of_waiting_wins(taken, monkeypatch, name):
    monkeypatch.setenv(name, "PASSIVE" if name == "OMP_WAIT_POLICY" else "5")
    assert not waits_shortly(taken, 3.0)


def test_one_thread_waits_for_none(taken):
    torch.set_num_threads(1)
    assert not waits_shortly(taken, 3.0)


def test_there_are_threads_for_the_cores_that_others_leave(taken):
    seen = [threads(taken, cores_taken) for cores_taken in (0.5, 1.0, None, 2.1, 0.5, 0.3, 9.0, 0.0)]
    assert seen == [4, 3, 3, 2, 2, 4, 1, 4]


def test_other_work_has_as_many_as_ever(taken):
    assert threads(taken, 3.0) == 1
    assert torch.get_num_threads() == 4
    sharing.suit_machine()
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize("name", cores._THREADS)
def test_the_user_s_own_number_of_threads_wins(taken, monkeypatch, name):
    monkeypatch.setenv(name, "4")
    assert threads(taken, 3.0) == 4


def test_a_quota_s_number_of_threads_is_not_the_user_s(taken, monkeypatch):
    monkeypatch.setattr(cores, "_settled", "4")
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert threads(taken, 3.0) == 1


def test_a_thread_that_begins_meanwhile_follows_and_gets_all_back(taken):
    seen = []

    def work() -> None:
        seen.append(threads(taken, None))
        seen.append(torch.get_num_threads())

    taken[:] = [2.0]
    with sharing.leaving_room():
        other = threading.Thread(target=work)
        other.start()
        other.join()
    assert seen == [2, 4]


def test_a_number_set_meanwhile_is_the_new_one(taken):
    assert threads(taken, 2.0) == 2
    torch.set_num_threads(3)
    assert threads(taken, 0.0) == 3


@pytest.mark.skipif(torch.cpu._is_amx_tile_supported(), reason="bits were not compared on AMX")
@pytest.mark.parametrize("size", [(97, 130), (64, 501), (331, 203)])
@pytest.mark.parametrize(("dtype", "count"), [("bfloat16", 1), ("float32", 4)])
def test_a_network_leaves_room_in_bfloat16_and_keeps_every_bit(taken, monkeypatch, dtype, count, size):
    separator = dereflect.load(dtype=dtype)
    coarse = np.random.default_rng(0).integers(0, 256, (size[0] // 8 + 1, size[1] // 8 + 1, 3), np.uint8)
    picture = coarse.repeat(8, 0).repeat(8, 1)[: size[0], : size[1]]
    seen = []
    run = type(separator.method).forward
    monkeypatch.setattr(
        type(separator.method),
        "forward",
        lambda *values, **named: (seen.append(torch.get_num_threads()), run(*values, **named))[1],
    )
    alone = separator.tensors(picture).transmission
    taken[:] = [3.0]
    crowded = separator.tensors(picture).transmission
    assert seen == [4, count]
    assert torch.equal(crowded, alone)

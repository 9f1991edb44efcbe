"""One picture of a stream that fails does not end the stream."""

import numpy as np
import pytest
import torch

from dereflect.errors import DereflectError, InputError, Unforeseen
from dereflect.methods.contract import Method, Traits
from dereflect.separator import Separator


class Picky(Method):
    """Fails at pictures that are all white."""

    family = "picky"
    fault: BaseException = RecursionError("too deep")

    def __init__(self) -> None:
        super().__init__()
        self.traits = Traits()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, blended, *, generator=None, progress=None):
        if (blended == 1).flatten(1).all(1).any():
            raise self.fault
        return blended * 0.5, blended * 0.5


@pytest.fixture
def separator() -> Separator:
    return Separator(Picky(), device="cpu", dtype="float32")


def grey(value: int) -> np.ndarray:
    return np.full((20, 24, 3), value, np.uint8)


def values(results) -> list[int]:
    return [int(result.pictures["blended"].pixels[0, 0, 0]) for result in results]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
def test_the_others_come_and_the_failure_is_told(separator, batch_size):
    told: list[tuple[int, DereflectError]] = []
    inputs = [grey(10), grey(255), grey(30), b"no picture", grey(50)]
    results = separator.stream(inputs, batch_size, failed=lambda *fault: told.append(fault))
    assert values(results) == [10, 30, 50]
    told.sort(key=lambda fault: fault[0])
    assert [number for number, _ in told] == [1, 3]
    assert str(told[0][1]) == "picture 1: RecursionError: too deep"
    assert isinstance(told[0][1], Unforeseen)
    assert "in forward" in told[0][1].trace
    assert str(told[1][1]).startswith("picture 3: ")


def test_without_a_listener_the_error_comes_at_the_end(separator, tmp_path):
    results, seen = separator.stream([grey(10), tmp_path / "missing.png", grey(30)]), []
    with pytest.raises(InputError, match=r"missing\.png: No such file"):
        seen.extend(values([result])[0] for result in results)
    assert seen == [10, 30]


def test_of_several_failures_it_says_how_many(separator):
    with pytest.raises(InputError, match="2 of 3 pictures: failed; the first: picture 0: RecursionError"):
        list(separator.stream([grey(255), grey(10), grey(255)]))


@pytest.mark.parametrize("call", [{"strength": 2.0}, {"quality": "worst"}, {"batch_size": 0}])
def test_an_argument_s_fault_is_raised_at_once(separator, call):
    with pytest.raises(InputError, match=next(iter(call))):
        next(separator.stream([grey(10), grey(20)], failed=lambda *_: None, **call))


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), SystemExit(3)])
def test_who_wants_to_stop_is_not_held_up(separator, fault):
    separator.method.fault = fault
    with pytest.raises(type(fault)):
        list(separator.stream([grey(255), grey(10)], failed=lambda *_: None))


def test_a_fault_of_the_source_is_not_a_picture_s(separator):
    def inputs():
        yield grey(10)
        raise ValueError("the camera is gone")

    with pytest.raises(ValueError, match="the camera is gone"):
        list(separator.stream(inputs(), failed=lambda *_: None))

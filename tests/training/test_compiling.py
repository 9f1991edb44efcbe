"""Compiled trainings: a compiler that loses gradients is found out before the first step."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from test_trainer import run
from torch import Tensor, nn
from toy import ToyObjective

from dereflect.training.compiling import differing

Graph = Callable[..., tuple[Tensor, ...]]
Compiler = Callable[[Graph, list[Tensor]], Graph]


class _Compiler:
    """In the place of Inductor: runs the traced graph, and counts; or loses its gradients."""

    def __init__(self, loses: bool = False) -> None:
        self.loses, self.runs = loses, 0

    def __call__(self, graph: Graph, inputs: list[Tensor]) -> Graph:
        def run(*args: Tensor) -> tuple[Tensor, ...]:
            self.runs += 1
            kept = tuple(found for found in graph(*args))
            # The value stays, and a thousandth of the gradient.
            return tuple(x.detach() + 1e-3 * (x - x.detach()) for x in kept) if self.loses else kept

        return run


@pytest.fixture
def compile_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[Compiler], None]:
    original = nn.Module.compile

    def patch(compiler: Compiler) -> None:
        torch._dynamo.reset()
        monkeypatch.setattr(nn.Module, "compile", lambda network: original(network, backend=compiler))

    return patch


def _exported(folder: Path) -> dict[str, Tensor]:
    return torch.load(folder / "model/weights.pt")


def _said(caplog: pytest.LogCaptureFixture) -> str:
    """By us; PyTorch's own tracing says a lot more."""
    return "".join(r.getMessage() for r in caplog.records if r.name.startswith("dereflect."))


def test_wrong_gradients_are_not_trained_on(tmp_path: Path, compile_by, caplog) -> None:
    run(tmp_path / "plain")
    compiler = _Compiler(loses=True)
    compile_by(compiler)
    run(tmp_path / "compiled", compile=True)
    assert compiler.runs == 3  # the first batch: one network, and the other in two turns
    assert "are wrong, e.g. of judge." in _said(caplog)
    plain, compiled = _exported(tmp_path / "plain"), _exported(tmp_path / "compiled")
    assert all(torch.equal(plain[key], compiled[key]) for key in plain)


def test_a_compiler_that_fails_is_done_without(tmp_path: Path, compile_by, caplog) -> None:
    def fail(graph: Graph, inputs: list[Tensor]) -> Graph:
        raise OSError("no C++ compiler\nhere")

    run(tmp_path / "plain")
    compile_by(fail)
    run(tmp_path / "compiled", compile=True)
    assert "compiling failed" in _said(caplog)
    assert "no C++ compiler" in _said(caplog)
    plain, compiled = _exported(tmp_path / "plain"), _exported(tmp_path / "compiled")
    assert all(torch.equal(plain[key], compiled[key]) for key in plain)


def test_right_gradients_are_trained_on_compiled(tmp_path: Path, compile_by, caplog) -> None:
    run(tmp_path / "plain")
    compiler = _Compiler()
    compile_by(compiler)
    trainer, _ = run(tmp_path / "compiled", compile=True)
    assert compiler.runs == 3 * (1 + trainer.total_steps)
    assert not _said(caplog)
    plain, compiled = _exported(tmp_path / "plain"), _exported(tmp_path / "compiled")
    assert all(torch.equal(plain[key], compiled[key]) for key in plain)


def test_the_trial_leaves_no_trace(tmp_path: Path, compile_by) -> None:
    compile_by(_Compiler())
    trainer, objective = run(tmp_path, compile=True)
    assert isinstance(objective, ToyObjective)
    assert objective.calls.item() == trainer.total_steps


def test_validation_is_not_compiled(tmp_path: Path, compile_by, monkeypatch) -> None:
    """Pictures of many sizes would each set the compiler to work."""
    validations = []

    def validate(objective: ToyObjective) -> dict[str, float]:
        before = compiler.runs
        objective.networks["model"](torch.zeros(1, 4))
        validations.append(compiler.runs - before)
        return {}

    monkeypatch.setattr(ToyObjective, "validate", validate)
    compiler = _Compiler()
    compile_by(compiler)
    run(tmp_path, compile=True)
    assert validations == [0]


LONG, SHORT = torch.tensor([3.0, 4.0]), torch.tensor([0.03, 0.0])


@pytest.mark.parametrize(
    ("compiled", "wrong"),
    [
        ({"a": LONG, "b": SHORT}, []),
        ({"a": LONG + 0.1, "b": SHORT}, []),
        ({"a": 0 * LONG, "b": SHORT}, ["a"]),
        ({"a": -LONG, "b": SHORT}, ["a"]),
        ({"b": SHORT}, ["a"]),
        ({"a": LONG * float("nan"), "b": SHORT}, ["a"]),
        ({"a": LONG, "b": -SHORT}, []),
    ],
    ids=["same", "rounded", "lost", "turned", "absent", "nan", "negligible"],
)
def test_what_is_another_gradient(compiled: dict[str, Tensor], wrong: list[str]) -> None:
    assert differing({"a": LONG, "b": SHORT}, compiled) == wrong

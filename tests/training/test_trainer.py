import json
from pathlib import Path

import pytest
import torch
from toy import AlgebraObjective, ToyObjective, ToySamples

from dereflect.errors import RecipeError
from dereflect.methods.objective import Moment
from dereflect.training.recipe import parse_recipe
from dereflect.training.trainer import Trainer


def run(output: Path, *, stop_at: int | None = None, **schedule: object) -> tuple[Trainer, ToyObjective]:
    content = {
        "objective": "default",
        "output": str(output),
        "data": "unused",
        "schedule": {"steps": 14, "batch_size": 2, "ema": 0.9, "device": "cpu", "log_every": 1} | schedule,
    }
    objective = ToyObjective()
    trainer = Trainer(parse_recipe(content), objective)
    if stop_at is not None:
        whole, trainer.total_steps = trainer.total_steps, stop_at
        original = objective.learning_rate
        objective.learning_rate = lambda name, moment: original(  # type: ignore[method-assign]
            name, type(moment)(moment.step, moment.epoch, whole)
        )
    trainer.run()
    return trainer, objective


@pytest.mark.parametrize("stop", [1, 5, 9])
def test_a_resumed_run_continues_exactly_as_an_unbroken_one(tmp_path: Path, stop: int) -> None:
    _, unbroken = run(tmp_path / "whole")
    _, first = run(tmp_path / "parts", stop_at=stop)
    trainer, second = run(tmp_path / "parts")
    assert first.losses + second.losses == pytest.approx(unbroken.losses, abs=1e-7)
    assert [*first.seen, *second.seen] == unbroken.seen
    assert trainer.step == 14
    assert second.calls.item() == 14
    assert trainer.average is not None
    whole = torch.load(tmp_path / "whole/model/weights.pt")
    parts = torch.load(tmp_path / "parts/model/weights.pt")
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_the_number_of_threads_does_not_change_the_data(tmp_path: Path) -> None:
    _, one = run(tmp_path / "one", workers=1)
    _, many = run(tmp_path / "many", workers=5)
    assert one.seen == many.seen


def test_an_epoch_is_trained_on_in_a_random_order(tmp_path: Path) -> None:
    samples = ToySamples()
    numbers = [float(samples.draw(0, index)["x"][0]) for index in range(len(samples))]
    _, objective = run(tmp_path, steps=6)
    assert sorted(objective.seen) == sorted(numbers)
    assert objective.seen != numbers


def run_algebra(
    output: Path, objective: AlgebraObjective | None = None, **schedule: object
) -> tuple[Trainer, AlgebraObjective]:
    content = {
        "objective": "default",
        "output": str(output),
        "data": "unused",
        "schedule": {"steps": 3, "batch_size": 4, "device": "cpu"} | schedule,
    }
    objective = objective or AlgebraObjective()
    trainer = Trainer(parse_recipe(content), objective)
    trainer.run()
    return trainer, objective


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_accumulated_steps_are_those_of_the_whole_batch(tmp_path: Path, parts: int) -> None:
    _, objective = run_algebra(tmp_path, batch_size=4 // parts, accumulate=parts)
    weight = objective.path[0]
    for step in range(3):
        weight = weight - objective.rate * objective.gradient(weight, 4 * step, 4)
    torch.testing.assert_close(objective.weight(), weight)


class RememberingObjective(AlgebraObjective):
    """Does something with what each forward pass saw, once its optimizer has stepped."""

    def __init__(self) -> None:
        super().__init__()
        self.remembered: list[torch.Tensor] = []

    def turns(self, batch, moment):
        weight = self.weight()
        yield from super().turns(batch, moment)
        assert not torch.equal(self.weight(), weight)
        self.remembered.append(batch["x"])


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_every_accumulated_pass_runs_to_its_end(tmp_path: Path, parts: int) -> None:
    _, objective = run_algebra(
        tmp_path, RememberingObjective(), steps=1, batch_size=4 // parts, accumulate=parts
    )
    drawn = torch.stack([objective.samples.draw(0, index)["x"] for index in range(4)])
    assert torch.equal(torch.cat(objective.remembered), drawn)


@pytest.mark.parametrize(
    ("samples", "epochs", "batch_size", "steps"), [(12, 1, 12, 1), (12, 2, 5, 5), (2976, 100, 5, 59520)]
)
def test_epochs_are_so_many_steps(
    tmp_path: Path, monkeypatch, samples: int, epochs: int, batch_size: int, steps: int
) -> None:
    """100 * (2976 / 5) is a little more than 59520 in floating point."""
    monkeypatch.setattr(ToySamples, "__len__", lambda self: samples)
    schedule = {"epochs": epochs, "batch_size": batch_size, "device": "cpu"}
    content = {"objective": "default", "output": str(tmp_path), "data": "unused", "schedule": schedule}
    assert Trainer(parse_recipe(content), AlgebraObjective()).total_steps == steps


def test_gradients_are_clipped_to_their_norm_and_keep_their_direction(tmp_path: Path) -> None:
    _, objective = run_algebra(tmp_path, clip_norm=0.01)
    weight = objective.path[0]
    for step in range(3):
        gradient = objective.gradient(weight, 4 * step, 4)
        assert gradient.norm() > 0.1  # so that clipping has something to do
        weight = weight - objective.rate * 0.01 * gradient / gradient.norm()
    torch.testing.assert_close(objective.weight(), weight, rtol=1e-4, atol=1e-6)
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert records[-1]["norm_model"] == pytest.approx(float(gradient.norm()), rel=1e-3)  # before clipping


def test_the_average_follows_the_decay_of_the_recipe(tmp_path: Path) -> None:
    trainer, objective = run_algebra(tmp_path, steps=40, batch_size=1, ema=0.7)
    assert trainer.average is not None
    path = [*objective.path, objective.weight()]
    expected = path[0].double()
    for step, weight in enumerate(path[1:], start=1):
        decay = min(0.7, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight.double()
    torch.testing.assert_close(trainer.average.shadow["weight"].double(), expected, rtol=1e-5, atol=1e-6)


def test_an_average_that_begins_at_a_resume_begins_at_the_weights_there(tmp_path: Path) -> None:
    run_algebra(tmp_path, steps=20, batch_size=1)
    trainer, objective = run_algebra(tmp_path, steps=21, batch_size=1, ema=0.999)
    assert trainer.average is not None
    kept = torch.load(tmp_path / "checkpoints/step-00000020/state.pt")["networks"]["model"]["weight"]
    expected = 22 / 31 * kept + 9 / 31 * objective.weight()
    torch.testing.assert_close(trainer.average.shadow["weight"], expected)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_damaged_checkpoint_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    run(tmp_path, steps=1)
    path = tmp_path / "checkpoints/step-00000001/state.pt"
    path.write_bytes(path.read_bytes()[:-500] if content is None else content)
    with pytest.raises(RecipeError, match=r"state\.pt: is no whole checkpoint of a training"):
        run(tmp_path, steps=2)


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("cup", "device cup: unknown; one of auto, cpu"),
        ("cuda", "device cuda: cannot be used"),
        ("cpu:1", "device cpu:1: give device=cpu without a number"),
    ],
)
def test_a_device_that_is_not_there_is_refused(tmp_path: Path, monkeypatch, device: str, words: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RecipeError, match=words):
        run(tmp_path, device=device)


def test_the_log_is_one_json_line_a_record(tmp_path: Path) -> None:
    run(tmp_path, steps=4)
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [1, 2, 3, 4]
    assert all(record["loss"] > 0 for record in records)


def test_old_checkpoints_go_and_the_newest_stay(tmp_path: Path) -> None:
    run(tmp_path, steps=6, checkpoint_minutes=1e-9, keep_checkpoints=2)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step-00000005", "step-00000006"]


@pytest.mark.parametrize(("minutes", "validated"), [(0, [1, 2, 3]), (1000, [3])])
def test_a_checkpoint_validates_when_it_is_due_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: float, validated: list[int]
) -> None:
    monkeypatch.setattr(ToyObjective, "validate", lambda self: {"gain": 1.0})
    run(tmp_path, steps=3, checkpoint_minutes=1e-9, validate_minutes=minutes)
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if "valid_gain" in r] == validated


def test_the_exported_model_holds_the_averaged_weights(tmp_path: Path) -> None:
    trainer, objective = run(tmp_path)
    assert trainer.average is not None
    exported = torch.load(tmp_path / "model/weights.pt")
    assert torch.equal(exported["weight"], trainer.average.shadow["weight"])
    assert not torch.equal(exported["weight"], objective.networks["model"].weight)


def test_a_batch_larger_than_the_data_is_refused_before_work(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="batch_size: a step takes 16 samples, but the data has 12"):
        run(tmp_path, batch_size=16)


def test_paths_in_a_recipe_may_begin_at_home(tmp_path: Path, monkeypatch) -> None:
    """Shells leave the tilde of output=~/run to the program."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    run(Path("~/run"), stop_at=2)
    assert (tmp_path / "run/checkpoints/step-00000002/state.pt").is_file()
    trainer, _ = run(tmp_path / "other", steps=3, resume="~/run")
    assert trainer.step == 3
    assert json.loads((tmp_path / "other/log.jsonl").read_text().splitlines()[0])["step"] == 3


def test_resume_never_refuses_a_folder_with_checkpoints(tmp_path: Path) -> None:
    run(tmp_path, steps=1)
    with pytest.raises(RecipeError, match="holds checkpoints"):
        run(tmp_path, steps=2, resume="never")


@pytest.mark.parametrize("wanted", [False, True])
def test_networks_are_compiled_only_when_asked(tmp_path: Path, monkeypatch, wanted: bool) -> None:
    compiled: list[torch.nn.Module] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda network: compiled.append(network))
    _, objective = run_algebra(tmp_path, compile=wanted)
    assert compiled == (list(objective.networks.values()) if wanted else [])


def test_the_log_tells_the_learning_rate(tmp_path: Path) -> None:
    _, objective = run(tmp_path)
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    wanted = objective.learning_rate("model", Moment(step=4, epoch=0, total_steps=14))
    assert records[4]["rate_model"] == pytest.approx(wanted, abs=1e-6)


def test_what_a_killed_run_has_left_goes(tmp_path: Path) -> None:
    """Records beyond the checkpoint, half a line, and the folder of a checkpoint that was not written."""
    run(tmp_path, stop_at=5)
    log, empty = tmp_path / "log.jsonl", tmp_path / "checkpoints" / "step-00000007"
    log.write_text(log.read_text() + '{"step": 6, "loss": 1.0}\n{"step": 7, "lo')
    empty.mkdir()
    run(tmp_path)
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(range(1, 15))
    assert not empty.exists()


class MeasuredObjective(ToyObjective):
    """Validates, and counts how often."""

    measured = 0

    def validate(self) -> dict[str, float]:
        self.measured += 1
        return {"weight": float(self.networks["model"].weight.detach().sum())}


def records(output: Path) -> list[dict[str, float]]:
    """The log, speeds apart."""
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "samples_per_second"} for line in lines]


def run_measured(output: Path, **schedule: object) -> MeasuredObjective:
    content = {"objective": "default", "output": str(output), "data": "unused"}
    content["schedule"] = {
        "steps": 5, "batch_size": 2, "ema": 0.9, "device": "cpu", "log_every": 1, "checkpoint_minutes": 1e-9,
    } | schedule  # fmt: skip
    objective = MeasuredObjective()
    Trainer(parse_recipe(content), objective).run()
    return objective


def test_what_is_saved_is_validated_once(tmp_path: Path) -> None:
    """Also where the last step is one at which a checkpoint is due."""
    objective = run_measured(tmp_path)
    assert [line["step"] for line in records(tmp_path) if "valid_weight" in line] == [1, 2, 3, 4, 5]
    assert objective.measured == 5


@pytest.mark.parametrize(("owner", "name"), [(MeasuredObjective, "validate"), (MeasuredObjective, "export")])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("call", [3, 5])
def test_a_run_killed_while_it_saves_leaves_the_log_of_an_unbroken_one(
    tmp_path: Path, monkeypatch, owner: type, name: str, moment: str, call: int
) -> None:
    run_measured(tmp_path / "whole")
    original, calls = getattr(owner, name), []

    def killed(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == call and moment == "before":
            raise KeyboardInterrupt
        result = original(*arguments)
        if len(calls) == call:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(owner, name, killed)
    with pytest.raises(KeyboardInterrupt):
        run_measured(tmp_path / "parts")
    run_measured(tmp_path / "parts")
    assert records(tmp_path / "parts") == records(tmp_path / "whole")

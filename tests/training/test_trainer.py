import json
from pathlib import Path

import pytest
import torch
from toy import ToyObjective

from dereflect.errors import RecipeError
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


def test_accumulating_two_halves_equals_one_whole_batch(tmp_path: Path) -> None:
    _, whole = run(tmp_path / "whole", batch_size=4, steps=3)
    _, halves = run(tmp_path / "halves", batch_size=2, accumulate=2, steps=3)
    assert whole.seen == halves.seen
    for name in ("model", "judge"):
        for a, b in zip(whole.networks[name].parameters(), halves.networks[name].parameters(), strict=True):
            torch.testing.assert_close(a, b, atol=2e-2, rtol=0)  # the noise in the toy's loss is drawn twice


def test_the_log_is_one_json_line_a_record(tmp_path: Path) -> None:
    run(tmp_path, steps=4)
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [1, 2, 3, 4]
    assert all(record["loss"] > 0 for record in records)


def test_old_checkpoints_go_and_the_newest_stay(tmp_path: Path) -> None:
    run(tmp_path, steps=6, checkpoint_minutes=1e-9, keep_checkpoints=2)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step-00000005", "step-00000006"]


def test_the_exported_model_holds_the_averaged_weights(tmp_path: Path) -> None:
    trainer, objective = run(tmp_path)
    assert trainer.average is not None
    exported = torch.load(tmp_path / "model/weights.pt")
    assert torch.equal(exported["weight"], trainer.average.shadow["weight"])
    assert not torch.equal(exported["weight"], objective.networks["model"].weight)


def test_a_batch_larger_than_the_data_is_refused_before_work(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="a step takes 16 samples, but the data has 12"):
        run(tmp_path, batch_size=16)


def test_resume_never_refuses_a_folder_with_checkpoints(tmp_path: Path) -> None:
    run(tmp_path, steps=1)
    with pytest.raises(RecipeError, match="holds checkpoints"):
        run(tmp_path, steps=2, resume="never")

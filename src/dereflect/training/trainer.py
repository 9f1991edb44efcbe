"""The one training loop.

It knows devices, precision, processes, checkpoints and logs, and no method by name.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dereflect.devices import choose_device
from dereflect.errors import InputError, MissingExtra, ModelError, RecipeError, first_line
from dereflect.files import write_text
from dereflect.methods.objective import Moment, Objective
from dereflect.nn import sharing
from dereflect.training import checkpoints, compiling
from dereflect.training.averaging import MovingAverage
from dereflect.training.log import RunLog
from dereflect.training.order import SampleOrder
from dereflect.training.recipe import Recipe, folders, objective_class
from dereflect.weights import read_checkpoint

try:
    from accelerate import Accelerator, DistributedDataParallelKwargs
except ImportError as _error:
    raise MissingExtra("accelerate", "train", "training") from _error

PRECISION = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


def prepare(recipe: Recipe) -> Trainer:
    """Build the objective and the loop of a recipe.

    `Trainer.run` then trains (and resumes if there is a checkpoint).

    Raises:
        RecipeError: the recipe cannot run; found before any long work starts.
    """
    named = folders(recipe)
    schedule = recipe.schedule
    torch.manual_seed(schedule.seed)
    # Every objective takes settings and folders, though the base class, which reads neither, does not say so.
    kind: Any = objective_class(recipe.objective)
    objective: Objective = kind(dict(recipe.settings) | {"seed": schedule.seed}, named)
    return Trainer(recipe, objective)


class Trainer:
    """One run of the loop over one objective."""

    def __init__(self, recipe: Recipe, objective: Objective) -> None:
        self.recipe, self.objective, schedule = recipe, objective, recipe.schedule
        _check_device(schedule.device)
        self.accelerator = Accelerator(
            mixed_precision=PRECISION[schedule.precision],
            cpu=schedule.device == "cpu",
            gradient_accumulation_steps=1,  # accumulation is counted here, so that resuming stays exact
            kwargs_handlers=[
                DistributedDataParallelKwargs(find_unused_parameters=objective.unused_parameters)
            ],
        )
        world = self.accelerator.num_processes
        self.samples_per_step = schedule.batch_size * schedule.accumulate * world
        if self.samples_per_step > len(objective.samples):
            raise RecipeError(
                "batch_size",
                f"a step takes {self.samples_per_step} samples, but the data has {len(objective.samples)}; "
                "lower batch_size or add data",
            )
        samples = (schedule.epochs or 1) * len(objective.samples)
        self.total_steps = schedule.steps or -(-samples // self.samples_per_step)
        self.folder = Path(recipe.output).expanduser()
        self.step = 0
        self._prepare()

    def _prepare(self) -> None:
        objective, accelerator, schedule = self.objective, self.accelerator, self.recipe.schedule
        for name, network in objective.networks.items():
            if schedule.channels_last:
                network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            if schedule.compile:
                network.compile()  # in place: the names of weights stay
            objective.networks[name] = accelerator.prepare_model(network)
        for name, optimizer in objective.optimizers.items():
            objective.optimizers[name] = accelerator.prepare_optimizer(optimizer)
        for helper in objective.helpers.values():
            helper.to(accelerator.device).eval().requires_grad_(False)
        self.average: MovingAverage | None = None
        if schedule.ema and objective.averaged:
            network = accelerator.unwrap_model(objective.networks[objective.averaged])
            self.average = MovingAverage(network, schedule.ema)

    def moment(self) -> Moment:
        """Where training stands now."""
        epoch = self.step * self.samples_per_step // len(self.objective.samples)
        return Moment(self.step, epoch, self.total_steps)

    def run(self) -> Path:
        """Train from where the last checkpoint stopped; returns the folder of the exported model."""
        schedule, chief = self.recipe.schedule, self.accelerator.is_main_process
        self._resume()
        if chief:
            self.folder.mkdir(parents=True, exist_ok=True)
            checkpoints.tidy(self.folder)
            write_text(self.recipe.model_dump_json(indent=2), self.folder / "recipe.json")
        log = RunLog(self.folder, chief, self.step, self.step == self.total_steps)
        started = last_saved = last_validated = time.monotonic()
        saved_step = -1
        with contextlib.closing(self._batches()) as batches, torch.compiler.set_stance(self._stance()):
            while self.step < self.total_steps:
                if self.accelerator.device.type == "cpu":
                    sharing.suit_machine()
                logs = self._one_step(batches)
                if self.step % schedule.log_every == 0 or self.step == self.total_steps:
                    log.write(self.step, logs, self.samples_per_step)
                now = time.monotonic()
                stop = schedule.stop_minutes is not None and now - started > 60 * schedule.stop_minutes
                if self._agreed(stop or now - last_saved > 60 * schedule.checkpoint_minutes):
                    due = stop or now - last_validated >= 60 * schedule.validate_minutes
                    self.save(log, due or self.step == self.total_steps)
                    last_saved, saved_step = time.monotonic(), self.step
                    last_validated = last_saved if due else last_validated
                    if self._agreed(stop):
                        break
        if saved_step != self.step:
            self.save(log)
        return self.folder / "model"

    def _stance(self) -> compiling.Stance:
        """How networks are called: as compiled where that was wished for and trains rightly."""
        if not self.recipe.schedule.compile or self.step == self.total_steps:
            return "default"
        with contextlib.closing(self._batches()) as batches:
            batch = next(batches)
        return compiling.stance(self.objective, batch, self.moment(), self.accelerator.backward)

    def _agreed(self, wish: bool) -> bool:
        """The chief's decision, for all processes: clocks differ, checkpoints must not."""
        if self.accelerator.num_processes == 1:
            return wish
        from accelerate.utils import broadcast

        return bool(broadcast(torch.tensor([float(wish)], device=self.accelerator.device))[0].item())

    def _one_step(self, batches: Iterator[dict[str, Tensor]]) -> dict[str, float]:
        objective, accelerator, schedule = self.objective, self.accelerator, self.recipe.schedule
        moment = self.moment()
        rates: dict[str, float] = {}
        for name, optimizer in objective.optimizers.items():
            rate = objective.learning_rate(name, moment)
            if rate is not None:
                rates[f"rate_{name}"] = rate
                for group in optimizer.param_groups:
                    group["lr"] = rate * group.get("rate_factor", 1.0)
        # Random numbers depend on where we are, never on what ran before: that makes resuming exact.
        torch.manual_seed((schedule.seed * 1_000_003 + self.step) * 64 + accelerator.process_index)
        logs: dict[str, float] = {}
        passes = [objective.turns(next(batches), moment) for _ in range(schedule.accumulate)]
        while True:
            name = ""
            for one in passes:
                turn = next(one, None)  # after its last turn a pass still has its end to run
                if turn is None:
                    continue
                name = turn.optimizer
                accelerator.backward(turn.loss / len(passes))
                for key, value in turn.logs.items():
                    logs[key] = logs.get(key, 0.0) + float(value) / len(passes)
            if not name:
                break
            optimizer = objective.optimizers[name]
            if schedule.clip_norm:
                parameters = [p for group in optimizer.param_groups for p in group["params"]]
                norm = accelerator.clip_grad_norm_(parameters, schedule.clip_norm)
                logs[f"norm_{name}"] = float(norm) if norm is not None else 0.0
            optimizer.step()
            for other in objective.optimizers.values():
                other.zero_grad(set_to_none=True)
        self.step += 1
        if self.average is not None:
            self.average.update(self.step)
        return logs | rates

    def _batches(self) -> Generator[dict[str, Tensor], None, None]:
        """Batches from the present step on, drawn ahead by threads.

        Which samples they hold depends on the step alone.
        """
        schedule, samples = self.recipe.schedule, self.objective.samples
        place = SampleOrder(self.objective, schedule.seed)
        size, rank, world = (
            schedule.batch_size,
            self.accelerator.process_index,
            self.accelerator.num_processes,
        )

        def load(number: int) -> dict[str, Tensor]:
            first = (number * world + rank) * size
            places = (place(first + offset) for offset in range(size))
            return self.objective.collate([samples.draw(epoch, index) for epoch, index in places])

        number = self.step * schedule.accumulate
        ahead: list[Future[dict[str, Tensor]]] = []
        with ThreadPoolExecutor(
            max(schedule.workers, 1), initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            try:
                while True:
                    while len(ahead) < max(2 * schedule.workers, 1):
                        ahead.append(pool.submit(load, number))
                        number += 1
                    batch = ahead.pop(0).result()
                    yield {key: value.to(self.accelerator.device) for key, value in batch.items()}
            finally:
                for future in ahead:
                    future.cancel()

    def save(self, log: RunLog, validate: bool = True) -> None:
        """Validate unless told otherwise, and write the exported model and a checkpoint.

        The checkpoint comes last: a run that was killed before it does all of this again, and one that was
        killed after it has nothing left to do. Older checkpoints beyond `keep_checkpoints` are removed.
        """
        accelerator, objective = self.accelerator, self.objective
        accelerator.wait_for_everyone()
        if not accelerator.is_main_process:
            accelerator.wait_for_everyone()
            return
        averaged = self.average.in_place() if self.average else contextlib.nullcontext()
        # A compiler would set to work anew for the size of each validation picture.
        with averaged, torch.compiler.set_stance("force_eager"):
            if validate:
                found = {f"valid_{key}": value for key, value in objective.validate().items()}
                log.write(self.step, found, 0)
                log.show(self.step, objective)
            objective.export(str(self.folder / "model"))
        state: dict[str, Any] = {
            "step": self.step,
            "networks": {
                name: accelerator.unwrap_model(net).state_dict() for name, net in objective.networks.items()
            },
            "optimizers": {name: opt.state_dict() for name, opt in objective.optimizers.items()},
            "average": self.average.state_dict() if self.average else None,
            "scaler": accelerator.scaler.state_dict() if accelerator.scaler else None,
            "extra": objective.extra_state(),
            "recipe": self.recipe.model_dump_json(),
        }
        checkpoints.write(state, self.folder, self.recipe.schedule.keep_checkpoints)
        accelerator.wait_for_everyone()

    def _resume(self) -> None:
        wanted = self.recipe.schedule.resume
        if wanted == "never":
            if checkpoints.complete(self.folder):
                raise RecipeError(self.folder, "holds checkpoints; choose another output or resume=auto")
            return
        found = checkpoints.complete(self.folder if wanted == "auto" else Path(wanted).expanduser())
        if not found:
            if wanted != "auto":
                raise RecipeError(wanted, "no checkpoint there to resume from")
            return
        try:
            state = read_checkpoint(found[-1])
        except (InputError, ModelError) as error:
            reason = "is no whole checkpoint of a training; remove it, or choose another resume"
            raise RecipeError(found[-1], reason) from error
        try:
            for name, network in self.objective.networks.items():
                self.accelerator.unwrap_model(network).load_state_dict(state["networks"][name])
            for name, optimizer in self.objective.optimizers.items():
                optimizer.load_state_dict(state["optimizers"][name])
        except (KeyError, RuntimeError, ValueError) as error:
            reason = f"does not fit this recipe ({first_line(error)}); choose another output"
            raise RecipeError(found[-1], reason) from error
        if self.average is not None:
            self.average.begin()  # the weights just read: a run may have had no average so far
            self.average.load_state_dict(state["average"] or {})
        if self.accelerator.scaler and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.objective.load_extra_state(state["extra"])
        self.step = state["step"]


def _check_device(wanted: str) -> None:
    """Refuse a device that is not there; Accelerate would silently take another."""
    try:
        choose_device(wanted)
    except InputError as error:
        raise RecipeError(error.head(), error.rest()) from error
    if ":" in wanted:
        kind, _, number = wanted.partition(":")
        reason = f"give device={kind} without a number; CUDA_VISIBLE_DEVICES={number} says which GPU"
        raise RecipeError(f"device {wanted}", reason)

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_training as tiny
import torch

from dereflect.errors import ModelError, RecipeError
from dereflect.methods.dmdnet.data import GlassMixture, Sources
from dereflect.methods.dmdnet.objective import DMDNetObjective, Settings
from dereflect.methods.objective import Moment
from dereflect.training.recipe import load_recipe

ROOT = Path(__file__).parents[3]


@pytest.fixture
def data(tmp_path, monkeypatch):
    pytest.importorskip("accelerate")
    tiny.use_stand_in(monkeypatch)
    return tiny.draw_folder(tmp_path / "data", 40, seed=1)


def train(recipe):
    from dereflect.training.trainer import prepare

    trainer = prepare(recipe)
    trainer.objective.export = lambda folder: None  # a stand-in for the depth network is not exported
    trainer.run()
    return trainer.objective.plain("separator")


def test_resuming_is_exact_banks_included(data, tmp_path):
    whole = train(tiny.tiny_recipe(data, tmp_path / "whole", steps=4, side=32))
    train(tiny.tiny_recipe(data, tmp_path / "parts", steps=2, side=32))
    parts = train(tiny.tiny_recipe(data, tmp_path / "parts", steps=4, side=32))
    fresh = tiny.tiny_recipe(data, tmp_path / "whole", steps=4, side=32)
    torch.manual_seed(fresh.schedule.seed)
    before = {name: value for name, value in whole.state_dict().items() if name.startswith("memory_")}
    for name, value in parts.state_dict().items():
        assert torch.equal(value, whole.state_dict()[name]), name
    assert len(before) == 22
    rows = before["memory_level5_T"].norm(dim=-1)
    assert torch.isclose(rows, torch.ones_like(rows), atol=1e-5).all(-1).any(), "no bank has evolved"


def test_the_recipe_trains_with_the_published_numbers():
    """Numbers typed from the description of the authors' training."""
    recipe = load_recipe("dmdnet", ["data=."])
    settings = Settings.model_validate(recipe.settings)
    assert settings.weights.model_dump() == {
        "pixel_T": 1.0,
        "pixel_R": 1.0,
        "perceptual": 0.02,
        "align_T": 0.1,
        "align_R": 0.05,
        "triplet_T": 0.1,
        "triplet_R": 0.05,
        "balance_T": 0.008,
        "balance_R": 0.008,
    }
    sources = settings.sources
    assert (sources.shares, sources.patch, sources.scale) == ([0.6, 0.2, 0.2], 352, (352, 704))
    assert (sources.rotate, sources.real) == (0.5, ["real", "nature"])
    assert (settings.betas, settings.start_from) == ((0.9, 0.999), None)
    schedule = recipe.schedule
    assert (schedule.epochs, schedule.batch_size, schedule.accumulate, schedule.seed) == (60, 1, 1, 2018)
    assert (schedule.precision, schedule.clip_norm, schedule.ema) == ("float32", None, None)


def test_the_rate_falls_at_epochs_30_and_50():
    objective = DMDNetObjective.__new__(DMDNetObjective)
    objective.settings = Settings.model_validate(load_recipe("dmdnet", ["data=."]).settings)
    rates = [objective.learning_rate("separator", Moment(0, epoch, 1)) for epoch in (0, 29, 30, 49, 50, 59)]
    assert rates == [1e-4, 1e-4, 5e-5, 5e-5, 1e-5, 1e-5]


def test_samples_depend_on_epoch_and_index_alone(data):
    sources = Sources(real=[], shares=[1.0], patch=32, scale=(32, 48))
    samples = GlassMixture(sources, {"data": data}, seed=3)
    again = GlassMixture(sources, {"data": data}, seed=3)
    again.draw(4, 2)
    first, second = samples.draw(1, 2), again.draw(1, 2)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["blended"], samples.draw(2, 2)["blended"])
    assert len(samples) == 20
    assert first["blended"].shape == (3, 32, 32)


def test_turning_loses_corners_only_where_the_option_says_so(tmp_path):
    from PIL import Image

    folder = tmp_path / "white"
    (folder / "photos").mkdir(parents=True)
    for i in range(4):
        Image.new("RGB", (96, 64), "white").save(folder / "photos" / f"{i}.png")
    darkest = {}
    for fault in (False, True):
        sources = Sources(
            real=[], shares=[1.0], patch=64, scale=(64, 64), rotate=1.0, black_corner_rotation=fault
        )
        samples = GlassMixture(sources, {"data": folder}, seed=0)
        drawn = [samples.draw(epoch, 0)["transmission"].min().item() for epoch in range(12)]
        darkest[fault] = min(drawn)
    assert darkest[False] > 0.99
    assert darkest[True] < 0.01


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"wings": 2}, "unknown key 'wings'"),
        ({"network": {"dims": [4, 4]}}, "dims needs 5 numbers"),
        ({"network": {"transmission_scan": "spiral"}}, "transmission_scan 'spiral' is unknown"),
        ({"network": {"wings": 1}}, "unknown DMDNet setting 'wings'"),
        ({"sources": {"real": [], "shares": [0.5]}}, "must sum to 1"),
        (
            {"sources": {"real": ["nature"], "shares": [0.5, 0.5]}},
            r"no such folder \(data 'nature'\); give data\.nature=FOLDER",
        ),
    ],
)
def test_faulty_settings_are_named(data, tmp_path, settings, message):
    from dereflect.methods.dmdnet.objective import DMDNetObjective

    given = dict(tiny.tiny_recipe(data, tmp_path, steps=1).settings) | settings
    with pytest.raises((RecipeError, ModelError), match=message):
        DMDNetObjective(given, {"data": data})


def test_held_out_pairs_are_measured_in_both_layers(data, tmp_path):
    from dereflect.methods.dmdnet.objective import DMDNetObjective

    random = np.random.default_rng(4)
    for layer in ("blended", "transmission_layer", "reflection_layer"):
        (tmp_path / "real20" / layer).mkdir(parents=True)
        for name in ("a", "b"):
            tiny.draw_picture(random, 48).save(tmp_path / "real20" / layer / f"{name}.png")
    settings = dict(tiny.tiny_recipe(data, tmp_path, steps=1).settings) | {"validate_on": ["real20"]}
    objective = DMDNetObjective(settings, {"data": data, "real20": tmp_path / "real20"})
    found = objective.validate()
    assert set(found) == {"real20_psnr_T", "real20_gain_T", "real20_psnr_R"}
    assert all(np.isfinite(value) for value in found.values())
    assert 3 < found["real20_psnr_T"] < 40
    with pytest.raises(RecipeError, match=r"data\.real20=FOLDER"):
        DMDNetObjective(settings, {"data": data})


WORKER = """
import sys
sys.path[:0] = [{tests!r}]
import tiny_training as tiny, torch, hashlib
from pathlib import Path
from dereflect.methods.dmdnet import objective
objective.load_depth_network = lambda path: tiny.StandInDepth()
objective.DMDNetObjective.export = lambda self, folder: None
from dereflect.training.trainer import prepare
trainer = prepare(tiny.tiny_recipe(Path({data!r}), Path({out!r}), steps=1, batch=1, side=32))
trainer.run()
network = trainer.objective.plain("separator")
banks = {{name: value for name, value in network.state_dict().items() if name.startswith("memory_")}}
torch.save(banks, f"{out}/banks-{{trainer.accelerator.process_index}}.pt")
"""


@pytest.mark.slow
def test_two_processes_keep_banks_equal_and_as_one_process_would(data, tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(
        WORKER.format(tests=str(Path(__file__).parent), data=str(data), out=str(tmp_path / "two"))
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = os.environ | {
        "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1", "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    workers = [
        subprocess.Popen(
            [sys.executable, str(script)],
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    faults = [worker.communicate(timeout=300)[1] for worker in workers]
    assert all(worker.returncode == 0 for worker in workers), faults[0][-3000:]
    first, second = (torch.load(tmp_path / "two" / f"banks-{rank}.pt") for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    single = train(tiny.tiny_recipe(data, tmp_path / "one", steps=1, batch=2, side=32)).state_dict()
    moved = torch.stack([(first[name] - single[name]).abs().max() for name in first])
    assert moved.max() < 1e-4, moved
    log = [json.loads(line) for line in (tmp_path / "two" / "log.jsonl").read_text().splitlines()]
    assert log


@pytest.mark.slow
def test_tiny_network_separates_unseen_mixtures_better_than_their_input(data, tmp_path):
    network = train(tiny.tiny_recipe(data, tmp_path / "run", steps=300))
    unseen = tiny.draw_folder(tmp_path / "unseen", 24, seed=2)
    before, after = tiny.held_out_psnr(network, tiny.StandInDepth(), unseen)
    assert after > before + 0.3, (before, after)

"""Raw files in batches."""

import json
from pathlib import Path

import numpy as np
import pytest
from batch_outputs import outputs
from PIL import Image

from dereflect import images
from dereflect.batch import BatchJob, run_batch
from dereflect.batch.manifest import Manifest
from dereflect.batch.store import Store
from dng import write_dng

rawpy = pytest.importorskip("rawpy", reason="raw files need the extra 'raw' (rawpy)")


@pytest.fixture
def shoot(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    write_dng(folder / "a.dng")
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(folder / "a.jpg")
    write_dng(folder / "b.dng", mosaic=False)
    return folder


def job_of(shoot: Path, model: Path, **more) -> BatchJob:
    return BatchJob(str(shoot), str(shoot.parent / "out"), str(model), layers="transmission", **more)


def test_of_a_pair_the_raw_file_is_taken(shoot, tiny_model, tmp_path):
    summary = run_batch(job_of(shoot, tiny_model))
    assert (summary.done, summary.raw.twins) == (2, 1)
    assert sorted(outputs(tmp_path / "out")) == ["a_transmission.tiff", "b_transmission.tiff"]
    assert images.read(tmp_path / "out" / "a_transmission.tiff").pixels.dtype == np.uint16
    assert run_batch(job_of(shoot, tiny_model)).kept == 2


def test_both_files_of_a_pair_have_results_of_their_own(shoot, tiny_model, tmp_path):
    assert run_batch(job_of(shoot, tiny_model, raw="both")).done == 3
    assert sorted(outputs(tmp_path / "out")) == [
        "a_transmission.jpg",
        "a_transmission.tiff",
        "b_transmission.tiff",
    ]


def test_two_files_are_never_written_to_one_name(shoot, tiny_model, tmp_path):
    (shoot / "a.jpg").rename(shoot / "a.tif")
    summary = run_batch(job_of(shoot, tiny_model, raw="both"))
    rows = {row["path"]: row["state"] for row in Manifest(Store(tmp_path / "out")).table().to_pylist()}
    assert rows == {"a.dng": "refused", "a.tif": "refused", "b.dng": "done"}
    assert summary.refused == 2


def test_another_space_is_another_job_and_srgb_is_the_job_that_it_was(shoot, tiny_model):
    assert job_of(shoot, tiny_model).fingerprint == job_of(shoot, tiny_model, raw_space="srgb").fingerprint
    assert job_of(shoot, tiny_model).fingerprint != job_of(shoot, tiny_model, raw_space="p3").fingerprint


def test_without_the_extra_raw_files_are_left_out_and_counted(shoot, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr("dereflect.batch.plan.is_here", lambda: False)
    summary = run_batch(job_of(shoot, tiny_model))
    assert (summary.done, summary.raw.stand_ins, summary.raw.unreadable) == (1, 1, 1)
    assert sorted(outputs(tmp_path / "out")) == ["a_transmission.jpg"]


def test_the_command_line_says_it_in_one_line(shoot, tiny_model, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from dereflect.cli import app

    monkeypatch.setattr("dereflect.batch.plan.is_here", lambda: False)
    words = ["batch", str(shoot), str(tmp_path / "out"), "--model", str(tiny_model), "--address", "none"]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 1
    assert "1 raw files: a raw file of a camera needs rawpy: run pip install 'dereflect[raw]'" in done.stderr
    assert [json.loads(line)["path"] for line in done.stdout.splitlines()] == ["a.jpg"]

"""What a batch writes down of every photo, and how it is read back."""

from pathlib import Path

import pytest
from batch_outputs import MakePhotos, job_of, rows
from PIL import Image

from dereflect import load
from dereflect.batch import run_batch
from dereflect.batch.manifest import FOLDER, NOTHING, Manifest
from dereflect.batch.store import Store
from dereflect.errors import InputError


def test_manifest_holds_what_separate_notes(tiny_model: Path, tmp_path: Path):
    source = tmp_path / "photos"
    source.mkdir()
    whole = Image.new("RGB", (48, 32), (90, 120, 60))
    whole.save(source / "plain.png")
    whole.save(source / "cut.jpg", comment=b"by hand")
    (source / "cut.jpg").write_bytes((source / "cut.jpg").read_bytes()[:-2])
    summary = run_batch(job_of(source, tiny_model, format="webp"))
    separator = load(tiny_model)
    found = rows(tmp_path / "out")
    for path in source.iterdir():
        result = separator(path)
        assert found[path.name]["notes"] == [*result.notes, *result.losses(["transmission"], "webp")], (
            path.name
        )
    assert [bool(found[name]["notes"]) for name in ("plain.png", "cut.jpg")] == [False, True]
    assert len(found["cut.jpg"]["notes"]) == 2  # of reading and of writing
    assert summary.noted == 1


def test_a_manifest_without_notes_is_read_on(tmp_path: Path):
    """Parts that an earlier version has written lack the column."""
    import pyarrow.parquet

    manifest = Manifest(Store(tmp_path))
    manifest.add(NOTHING | {"path": "a.jpg", "state": "done", "finished": 1.0})
    manifest.flush()
    (part,) = (tmp_path / FOLDER).iterdir()
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(part).drop_columns("notes"), part)
    manifest.add(NOTHING | {"path": "b.jpg", "state": "done", "finished": 1.0, "notes": ["cut"]})
    manifest.compact()
    assert [row["notes"] for row in Manifest(Store(tmp_path)).table().to_pylist()] == [None, ["cut"]]
    assert sorted(manifest.read()) == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("order", [(1.0, 2.0), (2.0, 1.0)])
def test_the_latest_row_of_a_photo_counts_whichever_part_it_is_in(tmp_path: Path, order):
    manifest = Manifest(Store(tmp_path))
    for finished in order:
        state = "done" if finished == 2.0 else "failed"
        manifest.add(NOTHING | {"path": "a.jpg", "state": state, "finished": finished})
        manifest.flush()
    assert manifest.read()["a.jpg"]["state"] == "done"
    assert [row["state"] for row in manifest.table().to_pylist()] == ["done"]


def test_manifest_holds_every_photo_with_checksums(photos: MakePhotos, tiny_model: Path, tmp_path: Path):
    import hashlib

    source = photos(4)
    run_batch(job_of(source, tiny_model))
    found = rows(tmp_path / "out")
    assert sorted(found) == sorted(p.relative_to(source).as_posix() for p in source.rglob("*.*"))
    for path, row in found.items():
        assert row["state"] == "done"
        assert row["attempts"] == 1
        assert row["source_sha256"] == hashlib.sha256((source / path).read_bytes()).hexdigest()
        for layer in ("transmission", "reflection"):
            content = (tmp_path / "out" / row[layer]).read_bytes()
            assert row[f"{layer}_bytes"] == len(content)
            assert row[f"{layer}_sha256"] == hashlib.sha256(content).hexdigest()


def test_manifest_and_summary_say_where_no_reflection_was_found(
    photos: MakePhotos, tiny_model: Path, tmp_path: Path
):
    job = job_of(photos(3), tiny_model)
    summary = run_batch(job)
    assert summary.untouched == 3  # a fresh model changes next to nothing
    assert {row["reflection_found"] for row in rows(tmp_path / "out").values()} == {False}


def test_a_manifest_of_an_earlier_version_lacks_columns_and_counts(tmp_path: Path):
    import pyarrow.parquet

    manifest = Manifest(Store(tmp_path))
    manifest.add(NOTHING | {"path": "a.png", "state": "done", "finished": 1.0})
    manifest.flush()
    part = next((tmp_path / FOLDER).iterdir())
    table = pyarrow.parquet.read_table(part).drop_columns("reflection_found")
    pyarrow.parquet.write_table(table, part)
    manifest.add(NOTHING | {"path": "b.png", "state": "done", "finished": 2.0, "reflection_found": True})
    manifest.flush()
    found = {row["path"]: row["reflection_found"] for row in manifest.table().to_pylist()}
    assert found == {"a.png": None, "b.png": True}


def test_rows_reach_the_manifest_while_a_run_goes_on(tmp_path: Path):
    manifest = Manifest(Store(tmp_path), rows_a_part=2, seconds_a_part=1e9)
    for number in range(5):
        manifest.add(NOTHING | {"path": f"{number}.jpg", "state": "done", "finished": float(number)})
    assert sorted(Manifest(Store(tmp_path)).read()) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]


def test_a_store_that_is_away_for_a_moment_loses_no_row(tmp_path: Path, monkeypatch):
    manifest = Manifest(Store(tmp_path), rows_a_part=2)
    write = Store.write
    monkeypatch.setattr(Store, "write", lambda *_: (_ for _ in ()).throw(OSError("away")))
    for number in range(3):
        manifest.add(NOTHING | {"path": f"{number}.jpg", "state": "done", "finished": float(number)})
    with pytest.raises(InputError, match="cannot be written"):
        manifest.flush()
    monkeypatch.setattr(Store, "write", write)
    manifest.add(NOTHING | {"path": "3.jpg", "state": "done", "finished": 3.0})
    assert len(Manifest(Store(tmp_path)).read()) == 4


def test_the_latest_row_counts(tmp_path: Path):
    manifest = Manifest(Store(tmp_path))
    for finished, state in ((1.0, "failed"), (3.0, "done"), (2.0, "failed")):
        manifest.add(NOTHING | {"path": "a.jpg", "state": state, "finished": finished})
        manifest.flush()
    assert manifest.read()["a.jpg"]["state"] == "done"
    manifest.compact()
    table = manifest.table()
    assert table.num_rows == 1
    assert table.column("state").to_pylist() == ["done"]


def test_a_manifest_part_with_damaged_values_is_named(tmp_path: Path):
    """Parquet holds no checksums here: a path with a wrong byte is read without complaint, as no text."""
    import pyarrow.parquet

    manifest = Manifest(Store(tmp_path))
    manifest.add(NOTHING | {"path": "caf\u00e9.jpg", "state": "done", "finished": 1.0})
    manifest.flush()
    (part,) = (tmp_path / FOLDER).iterdir()
    table = pyarrow.parquet.read_table(part)
    pyarrow.parquet.write_table(table, part, compression="none", use_dictionary=False)
    part.write_bytes(part.read_bytes().replace("caf\u00e9".encode(), b"caf\xff\xff"))
    for read in (manifest.read, manifest.table):
        with pytest.raises(InputError, match="this part of the manifest cannot be read"):
            read()


def test_a_broken_manifest_part_is_named(tmp_path: Path):
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / FOLDER / "1.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(InputError, match=r"1\.parquet: this part of the manifest cannot be read"):
        Manifest(Store(tmp_path)).read()

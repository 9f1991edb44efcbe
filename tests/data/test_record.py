import json

import numpy as np
import pytest
from PIL import Image

from dereflect.data.pairs import read_pairs
from dereflect.data.synthesis import record
from dereflect.errors import InputError


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number, size in enumerate([(60, 80), (90, 70), (64, 64)]):
        noise = random.integers(0, 256, (size[0] // 8, size[1] // 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((size[1], size[0])).save(folder / f"{number}.png")
    return folder


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}


def write(folder, entries, photos):
    for entry in entries:
        record.write_triplet(folder, entry.name, record.make(entry, photos, photos))
    record.write_record(folder / record.RECORD, entries, photos, photos)


@pytest.mark.parametrize("rule", record.RULES)
def test_the_record_alone_makes_the_same_files_again(photos, tmp_path, rule):
    write(tmp_path / "one", record.plan(photos, photos, 3, rule, seed=4, side=None), photos)
    entries, *folders = record.read_record(tmp_path / "one" / record.RECORD)
    assert folders == [photos, photos]
    write(tmp_path / "two", entries, photos)
    assert len(files(tmp_path / "one")) == 9
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert len(read_pairs(tmp_path / "one")) == 3
    assert all(entry.transmission != entry.reflection for entry in entries)


def test_a_triplet_does_not_depend_on_how_many_are_made(photos):
    few, many = (record.plan(photos, photos, count, "screen", 7, 32) for count in (2, 6))
    assert many[:2] == few
    assert record.plan(photos, photos, 2, "screen", 8, 32) != few
    assert {entry.size for entry in many} == {(32, 32)}


def test_photos_too_small_for_the_cut_are_not_used(photos):
    entries = record.plan(photos, photos, 12, "screen", 1, 66)
    assert {entry.transmission for entry in entries} == {"1.png"}
    with pytest.raises(InputError, match="no picture has 100 pixels"):
        record.plan(photos, photos, 1, "screen", 1, 100)


def test_a_changed_or_missing_source_is_refused(photos):
    (entry,) = record.plan(photos, photos, 1, "ceilnet", 1, None)
    Image.new("RGB", (80, 60)).save(photos / entry.reflection)
    with pytest.raises(InputError, match=f"{entry.reflection}: is not the file"):
        record.make(entry, photos, photos)
    (photos / entry.reflection).unlink()
    with pytest.raises(InputError, match="it is not there"):
        record.make(entry, photos, photos)


def test_what_is_no_record_is_refused(tmp_path):
    for text in ("", "hello", json.dumps({"a": 1}), '{"transmissions": "a", "reflections": "b"}\n{"x": 1}'):
        (tmp_path / "record.jsonl").write_text(text)
        with pytest.raises(InputError, match="not a synthesis record"):
            record.read_record(tmp_path / "record.jsonl")


def test_a_rule_by_no_name_is_refused():
    with pytest.raises(InputError, match="rule x: unknown; one of ceilnet"):
        record.rule_module("x")


@pytest.mark.parametrize(
    "changed",
    [
        {"size": 3},
        {"draws": [1, 2]},
        {"draws": {"sigma": 1.0}},
        {"draws": {"sigma": "wide", "reflection_weight": 0.5}},
        {"name": "../elsewhere"},
        {"transmission_corner": [1]},
        {"more": 1},
    ],
)
def test_a_line_of_a_record_that_is_no_triplet_is_refused(photos, tmp_path, changed):
    entries = record.plan(photos, photos, 1, "screen", 1, None)
    record.write_record(tmp_path / record.RECORD, entries, photos, photos)
    head, line = (tmp_path / record.RECORD).read_text().splitlines()
    (tmp_path / record.RECORD).write_text(f"{head}\n{json.dumps(json.loads(line) | changed)}\n")
    with pytest.raises(InputError, match=r"record\.jsonl: not a synthesis record \(.+\)$"):
        record.read_record(tmp_path / record.RECORD)


def test_the_contact_sheet_shows_every_triplet(photos):
    triplets = [record.make(e, photos, photos) for e in record.plan(photos, photos, 5, "screen", 1, 64)]
    sheet = np.asarray(record.contact_sheet(triplets, side=64))
    assert sheet.shape == (2 * 70, 4 * 210, 3)
    assert (sheet[:64, :64] == record.as_bytes(triplets[0].blended)).all()
    assert (sheet[70:134, 65:129] == record.as_bytes(triplets[4].transmission)).all()


def test_a_kill_while_a_triplet_is_written_leaves_no_half_of_it(photos, tmp_path, monkeypatch):
    entries = record.plan(photos, photos, 1, "screen", 1, None)

    def killed(self, file, *args, **kinds):
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        record.write_all(tmp_path / "out", entries, photos, photos)
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []

"""``--model best``: the order of cards, what is passed over and why, and that nothing is fetched."""

import pytest
import torch

from dereflect.catalog import CARDS, family
from dereflect.inference import best
from dereflect.inference.best import choose_best
from dereflect.methods.card import ModelCard, Score
from dereflect.methods.costs import Cost
from dereflect.methods.ranking import PHOTOS, by_quality, quality
from dereflect.separator import load

GIB = 2**30


def card(name, scores=(), **facts):
    published = tuple(Score(data, psnr, None, "", "") for data, psnr in scores)
    return ModelCard(name, name, "", "", "", "", 1.0, published=published, **facts)


DEFAULT = card("default", cost=Cost(0.2, 600, ""))
GOOD = card("good", [("real20", 20.0), ("mean of all photos", 26.7)], at_work=3000)
FAIR = card("fair", [("real20", 25.0)], at_work=1000)
CARDS_HERE = (DEFAULT, FAIR, GOOD)


def choose(*here, free=8 * GIB, device="cpu", cards=CARDS_HERE):
    return choose_best(device, cards, lambda card: card.name in here, free)


def test_order_is_by_all_photos_then_real20_then_other_data_then_none():
    other, none = card("other", [("night", 40.0)]), card("none")
    parts = card("parts", [(data, 26.0) for data in PHOTOS])
    found = by_quality([none, other, FAIR, parts, GOOD])
    assert [one.name for one in found] == ["good", "parts", "fair", "other", "none"]


def test_the_mean_over_all_photos_is_weighed_by_their_number():
    parts = card("parts", [(data, 494.0 if data == "sir2-wild" else 0.0) for data in PHOTOS])
    assert quality(parts) == (pytest.approx(55.0), "the field's test photos")


def test_at_equal_quality_the_faster_comes_first():
    slow, fast = (card(f"s{s}", [("real20", 25.0)], cost=Cost(s, 1, "")) for s in (9.0, 2.0))
    assert [one.name for one in by_quality([slow, fast])] == ["s2.0", "s9.0"]


def test_the_best_that_is_here_is_taken_and_the_reason_told():
    choice = choose("default", "fair", "good")
    assert (choice.name, choice.why) == (
        "good",
        "26.70 dB on the field's test photos, needs 3,000 of 8,192 MiB",
    )
    assert choose("default", "fair").name == "fair"


def test_what_does_not_fit_is_passed_over():
    choice = choose("default", "fair", "good", free=2 * GIB)
    assert choice.name == "fair"
    assert choice.why.endswith("good needs 3,000 MiB, 2,048 are free")


def test_measured_memory_counts_where_nothing_else_is_said():
    measured = card("measured", [("real20", 30.0)], cost=Cost(1.0, 2500, ""))
    assert choose("measured", cards=(DEFAULT, measured), free=2 * GIB).name == "default"
    assert choose("measured", cards=(DEFAULT, measured), free=3 * GIB).name == "measured"


def test_without_a_gpu_models_for_one_are_passed_over():
    large = card("large", [("mean of all photos", 29.0)], at_work=100, for_gpu=True)
    choice = choose("large", cards=(DEFAULT, large))
    assert (choice.name, choice.why) == ("default", "large is for a GPU")


def test_the_default_is_taken_where_nothing_else_is_here():
    assert choose("default").name == "default"
    assert choose("default").why == "2 models that come before it are not on this disk"


def test_the_catalogs_models_are_found_in_the_cache_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("DEREFLECT_CACHE", str(tmp_path))
    here = {name for name, one in CARDS.items() if family(one.family).is_here(name)}
    assert here == {"default"}
    assert choose_best("cpu", free=64 * GIB).name == "default"
    for name in ("dsit", "rdnet"):
        (tmp_path / name / "model").mkdir(parents=True)
        (tmp_path / name / "model/config.json").write_text("{}")
    assert choose_best("cpu", free=64 * GIB).name == "dsit"
    assert choose_best("cpu", free=int(2.5 * GIB)).name == "rdnet"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dsit", "rdnet"]


def test_large_models_are_found_where_they_keep_their_parts(tmp_path, monkeypatch):
    monkeypatch.setenv("DEREFLECT_CACHE", str(tmp_path))
    for mark in (
        "diffrs/model_index.json",
        "windowseat/base/vae/config.json",
        "windowseat/adapter/model_index.json",
    ):
        (tmp_path / mark).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / mark).write_text("{}")
    assert family("diffrs").is_here("diffrs")
    assert family("windowseat").is_here("windowseat")


def test_every_model_that_can_be_downloaded_says_its_memory():
    silent = [name for name, one in CARDS.items() if one.files and best.need(one) is None]
    assert silent == []


def test_load_takes_it_and_says_which_and_why(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("DEREFLECT_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    separator = load("best", device="cpu")
    assert separator.name == "default"
    assert "model best: default (" in caplog.text
    assert separator.tensors(torch.rand(3, 32, 32)).transmission.shape == (3, 32, 32)


def test_a_file_of_that_name_wins_over_the_word(model_folder, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "best").symlink_to(model_folder)
    assert load("best", device="cpu").name == "best"
    assert "model best:" not in caplog.text

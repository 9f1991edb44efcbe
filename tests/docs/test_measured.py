"""Numbers on pages and model cards are those of docs/measured.json."""

import argparse
import json
import re
import sys
from pathlib import Path

import pytest

from dereflect.catalog import CARDS

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import measured  # noqa: E402

ENTRIES = measured.read()
PAGES = [page.relative_to(ROOT).as_posix() for page in measured.pages()]
CARD_ENTRIES = {
    "default": ["default.benchmark", "default.pairs", "default.synthetic100"],
}
"""Which entries the numbers of a card's sentences come from, beside those of its cost."""

MEASURED = re.compile(
    r"\d[\d.,]*\s(?:dB|times (?:faster|less)|seconds? a photo)\b|\d\.\d+\s(?:s|ms|seconds)\b"
)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_the_numbers_of_the_file(page: str):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert measured.fill(text, ENTRIES) == text, "run  python benchmarks/measured.py"


@pytest.mark.parametrize("page", [page for page in PAGES if not page.startswith("docs/notes/")])
def test_a_page_has_no_measured_number_without_a_mark(page: str):
    text = (ROOT / page).read_text(encoding="utf-8")
    text = re.sub(r"```.*?```", "", measured.TABLE.sub("", measured.SPAN.sub("", text)), flags=re.DOTALL)
    assert MEASURED.findall(text) == []


@pytest.mark.parametrize("page", PAGES)
def test_no_line_begins_with_a_mark(page: str):
    """Markdown would take the line for a block of HTML and break the paragraph there."""
    assert not re.search(r"^ *<!-- m ", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("name", CARDS)
def test_a_model_card_shows_the_numbers_of_the_file(name: str):
    card = CARDS[name]
    text = card.speed + card.quality + (f" {card.cost.seconds} {card.cost.mebibytes}" if card.cost else "")
    entries = CARD_ENTRIES.get(name, []) + (["catalog.costs"] if card.cost else [])
    known = [value for key in entries for value in numbers(ENTRIES[key]["values"])]
    for shown in re.findall(r"\d+\.\d+", text):
        digits = len(shown.partition(".")[2])
        assert shown in {f"{value:.{digits}f}" for value in known}, (
            f"{shown} of {name} is not in measured.json"
        )


def numbers(values: object) -> list[float]:
    if isinstance(values, dict):
        return [found for value in values.values() for found in numbers(value)]
    if isinstance(values, list):
        return [found for value in values for found in numbers(value)]
    return [float(values)] if isinstance(values, int | float) else []


@pytest.mark.parametrize("key", ENTRIES)
def test_an_entry_says_where_it_comes_from(key: str):
    entry = ENTRIES[key]
    assert {"command", "machine", "date", "commit", "values"} <= set(entry)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", entry["date"])
    assert re.fullmatch(r"[0-9a-f]{7,}\+?", entry["commit"])
    script = re.search(r"benchmarks/\w+\.py", entry["command"])
    assert script is None or (ROOT / script[0]).is_file()


def test_a_changed_number_is_seen_and_filled_in():
    entries = {"speed": {"date": "2026-01-02", "values": {"rows": [{"seconds": 0.254}], "share": 0.613}}}
    text = "<!-- m speed rows.0.seconds:.2f -->0.31<!-- /m --> s, <!-- m speed share:.0 % -->1 %<!-- /m -->"
    filled = measured.fill(text, entries)
    assert re.sub("<!--.*?-->", "", filled) == "0.25 s, 61 %"
    assert measured.fill(filled, entries) == filled


def test_a_table_gets_a_line_for_each_row_and_says_its_source():
    entry = {"command": "run x", "machine": "two threads", "date": "2026-01-02"}
    entry["values"] = {"rows": [{"size": 1, "seconds": 0.5}, {"size": 2, "seconds": None}]}
    mark = "<!-- measured k\n| size | s |\n|---|---|\n| {size} | {seconds:.1f} |\n-->\n"
    filled = measured.fill(mark + "stale\n<!-- /measured -->", {"k": entry})
    assert "| 1 | 0.5 |\n| 2 |  |\n\n*Measured: `run x`; two threads; 2026-01-02.*" in filled
    assert "stale" not in filled


def test_a_mark_of_an_unknown_entry_is_an_error():
    with pytest.raises(KeyError, match="nosuch"):
        measured.fill("<!-- m nosuch x -->1<!-- /m -->", {})


def test_a_benchmark_replaces_its_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(measured, "FILE", tmp_path / "measured.json")
    monkeypatch.setattr(sys, "argv", [str(ROOT / "benchmarks/x.py"), "--sizes", "3", "--record", "x.speed"])
    monkeypatch.setattr(measured, "commit", lambda: "0123456")
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes")
    measured.add_option(parser, "x")
    measured.write({"x.speed": {"values": {}}, "kept": {"values": {}}})
    measured.record(parser.parse_args(sys.argv[1:]), {"seconds": 1.5}, "bfloat16")
    found = measured.read()
    assert list(found) == ["kept", "x.speed"]
    assert found["x.speed"]["values"] == {"seconds": 1.5}
    assert found["x.speed"]["command"] == "python benchmarks/x.py --sizes 3"
    assert found["x.speed"]["machine"].endswith(", bfloat16")


def test_without_the_option_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(measured, "FILE", tmp_path / "measured.json")
    parser = argparse.ArgumentParser()
    measured.add_option(parser, "x")
    measured.record(parser.parse_args([]), {"seconds": 1.5})
    assert not measured.FILE.exists()


def test_the_package_shows_the_costs_that_were_measured():
    import costs

    entry = ENTRIES["catalog.costs"]
    assert json.loads(costs.PACKAGED.read_text()) == costs.shown(entry)
    assert set(costs.MODELS) == {name for name, card in CARDS.items() if card.cost is not None}
    assert set(costs.MODELS) == {
        row["model"] for row in entry["values"]["rows"] if row["megapixels"] == costs.SHOWN_AT
    }

import csv
import json
import sys
from pathlib import Path
from runpy import run_path

SCRIPT = str(Path(__file__).parents[2] / "scripts" / "thin_log.py")
RECORDS = [
    {"step": 100, "pixel": 0.4, "rate_separator": 0.5},  # the first after a start has no speed
    {"step": 200, "pixel": 0.2, "rate_separator": 0.4, "samples_per_second": 2.0},
    {"step": 250, "valid_pairs_gain": 1.5},
    {"step": 300, "pixel": 0.1, "rate_separator": 0.3, "samples_per_second": 2.0},
]


def _thinned(folder: Path, monkeypatch) -> list[dict[str, str]]:
    (folder / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    table = folder / "table.csv"
    options = [str(folder / "log.jsonl"), str(table), "--crops-a-step", "16"]
    monkeypatch.setattr(sys, "argv", [SCRIPT, *options])
    run_path(SCRIPT, run_name="__main__")
    with table.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_row_holds_mean_losses_and_the_last_rate(tmp_path, monkeypatch):
    first, second = _thinned(tmp_path, monkeypatch)
    assert (first["step"], first["crops"], first["pixel"], first["rate_separator"]) == (
        "200",
        "3200",
        "0.3",
        "0.4",
    )
    assert (second["step"], second["pixel"]) == ("300", "0.1")


def test_validation_stands_in_the_row_in_which_it_was_done(tmp_path, monkeypatch):
    first, second = _thinned(tmp_path, monkeypatch)
    assert (first["valid_pairs_gain"], second["valid_pairs_gain"]) == ("", "1.5")


def test_hours_come_from_speeds_and_the_median_where_there_is_none(tmp_path, monkeypatch):
    first, second = _thinned(tmp_path, monkeypatch)
    assert float(first["hours"]) == round(200 * 16 / 2 / 3600, 3)
    assert float(second["hours"]) == round((200 * 16 / 2 + 50 * 16 / 2 + 50 * 16 / 2) / 3600, 3)

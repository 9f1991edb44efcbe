"""Thin the log of a training run to a table that can be kept beside a model card.

    python scripts/thin_log.py runs/long/log.jsonl docs/models/default_training.csv --crops-a-step 16

A row holds the means of what was logged since the row before, and the last validation in between.
Hours are of the clock while the run was up, validation and pauses included. They come from the logged speeds;
where a run was taken up again, no speed is logged and the median stands in.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from statistics import mean, median

from dereflect.cli.scripts import run_script
from dereflect.files import writing

Record = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("log", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--every", type=int, default=200, help="steps in a row (default 200)")
    parser.add_argument("--crops-a-step", type=int, required=True)
    options = parser.parse_args()
    records = [json.loads(line) for line in options.log.read_text(encoding="utf-8").splitlines()]
    rows = thin(records, options.every, options.crops_a_step)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with writing(options.table) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows(rows)


def thin(records: list[Record], every: int, crops: int) -> list[Record]:
    """Rows of `every` steps, of records in the order of their steps.

    Returns:
        Step, crops and hours so far, then every logged value: the mean of losses, the last validation.
    """
    speeds = [record["samples_per_second"] for record in records if "samples_per_second" in record]
    usual = median(speeds) if speeds else float("nan")
    rows: list[Record] = []
    seconds, before, waiting = 0.0, 0, list[Record]()
    for number, record in enumerate(records):
        step = int(record["step"])
        seconds += (step - before) * crops / record.get("samples_per_second", usual)
        before = step
        waiting.append(record)
        last = number + 1 == len(records)
        if last or records[number + 1]["step"] > (len(rows) + 1) * every:
            rows.append(
                {"step": step, "crops": step * crops, "hours": round(seconds / 3600, 3)} | _told(waiting)
            )
            waiting = []
    return rows


def _told(records: list[Record]) -> Record:
    told: Record = {}
    for key in dict.fromkeys(key for record in records for key in record if key != "step"):
        values = [record[key] for record in records if key in record]
        told[key] = round(values[-1] if key.startswith(("valid_", "rate_")) else mean(values), 6)
    return dict(sorted(told.items(), key=lambda item: item[0].startswith("valid_")))


if __name__ == "__main__":
    run_script(main)

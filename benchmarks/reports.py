"""Record what `dereflect evaluate` or `dereflect benchmark` measured in docs/measured.json.

    dereflect evaluate --data pairs --model default -o report
    python benchmarks/reports.py report/results.json --data pairs --record default.pairs
    python benchmarks/reports.py report/results.json --kinds --record default.kinds
    dereflect benchmark -m default -o speed
    python benchmarks/reports.py speed/speed.json --record default.benchmark

Without --record it prints the values.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean, median
from typing import Any

from measured import record

from dereflect.cli.scripts import run_script
from dereflect.evaluation.protocol import HARM
from dereflect.evaluation.records import UNTOUCHED


def quality(report: dict[str, Any], data: str, model: str) -> dict[str, Any]:
    """What one data set's part of results.json says of a model, as measured.json keeps it."""
    rows = {
        (row["layer"], row["model"]): row for row in report["summary"] if row["data"] == data and row["means"]
    }

    def means(layer: str, name: str) -> dict[str, float]:
        found = rows[layer, name]["means"]
        return {"psnr": round(found["psnr"]["mean"], 2), "ssim": round(found["ssim"]["mean"], 3)}

    row = rows["transmission", model]
    gains = gains_of(report, data, model)
    values = {
        "pictures": row["pictures"],
        "better": row["better"],
        "gain": round(row["gains"]["psnr"]["mean"], 2),
        "median_gain": round(median(gains), 1),
        "largest_gain": round(max(gains), 1),
        "input": means("transmission", UNTOUCHED),
        "model": means("transmission", model),
    }
    if ("reflection", model) in rows:
        values["reflection_input"] = means("reflection", UNTOUCHED)
        values["reflection"] = means("reflection", model)
    return values


def kinds(report: dict[str, Any], model: str) -> dict[str, Any]:
    """A row for each data set: what the transmission gains, and the share of the photos made worse."""
    rows = []
    for data in (entry["name"] for entry in report["data"]):
        found = quality(report, data, model)
        gains, aligned = gains_of(report, data, model), gains_of(report, data, model, "psnr_aligned")
        rows.append(
            {
                "data": data,
                "pictures": found["pictures"],
                "input": found["input"]["psnr"],
                "model": found["model"]["psnr"],
                "gain": found["gain"],
                "median": round(median(gains), 2),
                "aligned": round(mean(aligned), 2),
                "worse": round(mean(gain < -HARM for gain in gains), 4),
            }
        )
    return {"rows": rows}


def gains_of(report: dict[str, Any], data: str, model: str, metric: str = "psnr") -> list[float]:
    """The transmission's gain over the untouched photo by a metric, picture by picture."""
    found: dict[str, dict[str, float]] = {}
    for picture in report["pictures"]:
        if picture["data"] == data:
            scores = found.setdefault(picture["picture"], {})
            scores[picture["model"]] = picture["layers"]["transmission"][metric]
    return [scores[model] - scores[UNTOUCHED] for scores in found.values()]


def speeds(report: dict[str, Any], model: str) -> dict[str, Any]:
    """What speed.json says of a model."""
    return {
        "rows": [
            {
                "megapixels": speed["megapixels"],
                "seconds": round(speed["seconds"], 2),
                "mebibytes": round(speed["peak_bytes"] / 2**20),
            }
            for speed in report["speeds"]
            if speed["model"] == model and speed["seconds"] is not None
        ]
    }


def main() -> None:
    """Read the report, and record or print what it says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("report", type=Path, help="results.json or speed.json")
    parser.add_argument("--data", help="name of the data set in results.json")
    parser.add_argument("--kinds", action="store_true", help="a row for each data set")
    parser.add_argument("--model", default="default")
    parser.add_argument("--record", metavar="KEY", help="write into docs/measured.json under this key")
    options = parser.parse_args()
    report = json.loads(options.report.read_text(encoding="utf-8"))
    if "speeds" in report:
        values, command = speeds(report, options.model), f"dereflect benchmark -m {options.model}"
    elif options.kinds:
        values, command = (
            kinds(report, options.model),
            f"dereflect evaluate --data ... --model {options.model}",
        )
    elif options.data:
        values = quality(report, options.data, options.model)
        command = f"dereflect evaluate --data {options.data} --model {options.model}"
    else:
        raise SystemExit(
            f"{options.report}: give --data; one of {', '.join(d['name'] for d in report['data'])}"
        )
    record(options, values, command=command)
    print(json.dumps(values, indent=1))


if __name__ == "__main__":
    run_script(main)

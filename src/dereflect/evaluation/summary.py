"""From records to what a table says: means over pictures, bootstrap intervals, gains, wins, costs."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dereflect.evaluation.protocol import Protocol
from dereflect.evaluation.records import LAYERS, UNTOUCHED, Record, models_of

RESAMPLES = 2000
WORST = 0.05
"""Share of the photos that count as the worst."""
ALL = "all pictures"
SIR2 = ("sir2-objects", "sir2-postcard", "sir2-wild")
"""Papers print these three together as one set, mean over pictures."""


@dataclass(frozen=True)
class Mean:
    """A mean over pictures with its 95 % percentile bootstrap interval."""

    mean: float
    low: float
    high: float
    pictures: int


@dataclass(frozen=True)
class Spread:
    """How the gains over the untouched photo are spread: a mean hides the photos that a model spoils."""

    median: float
    worst: float
    """Mean gain of the worst 5 % of the photos, rounded up to whole photos."""
    harmed: int
    """Photos that lose more than `Metric.harm`."""
    pictures: int


@dataclass(frozen=True)
class Row:
    """One model on one data set and layer."""

    data: str
    layer: str
    model: str
    means: dict[str, Mean]
    gains: dict[str, Mean]
    """Mean difference to the untouched input, picture by picture; empty for the untouched input itself."""
    spreads: dict[str, Spread]
    """Of the gains in the columns that count harm; empty for the untouched input itself."""
    better: int
    """Pictures on which the first column is better than that of the untouched input."""
    wins: int
    """Pictures on which nothing else, the untouched input included, is better; ties count for all."""
    pictures: int


@dataclass(frozen=True)
class Price:
    """What a model's runs cost, medians over pictures (the first run of a process is slow)."""

    model: str
    seconds_per_megapixel: float
    bytes_per_megapixel: float | None
    device: str


def summarise(records: Sequence[Record], protocol: Protocol) -> list[Row]:
    """Rows for every data set, layer and model; where there are several sets, also for all together."""
    names = list(dict.fromkeys(record.data for record in records))
    groups = [(name, [r for r in records if r.data == name]) for name in names]
    if all(name in names for name in SIR2):
        groups.append(("sir2", [r for r in records if r.data in SIR2]))
    if len(names) > 1:
        groups.insert(0, (ALL, list(records)))
    rows = []
    for name, group in groups:
        for layer in LAYERS:
            rows += _rows(name, layer, [record for record in group if layer in record.layers], protocol)
    return rows


def _rows(data: str, layer: str, records: Sequence[Record], protocol: Protocol) -> list[Row]:
    by_model = {
        model: {(r.data, r.picture): r.layers[layer] for r in records if r.model == model}
        for model in models_of(records)
    }
    columns = [c for c in protocol.columns if any(c.name in r.layers[layer] for r in records)]
    wins = dict.fromkeys(by_model, 0)
    first = columns[0].name if columns else ""
    sign = 1 if columns and columns[0].higher_is_better else -1
    for picture in dict.fromkeys((r.data, r.picture) for r in records):
        scores = {m: sign * rows[picture][first] for m, rows in by_model.items() if picture in rows}
        best = max(scores.values())
        for model, score in scores.items():
            wins[model] += score == best
    untouched = by_model.get(UNTOUCHED, {})
    rows = []
    for model, values in by_model.items():
        means, gains, spreads = {}, {}, {}
        for column in columns:
            shared = [(p, v[column.name]) for p, v in values.items() if column.name in v]
            seed = zlib.crc32(f"{data}|{layer}|{column.name}".encode())
            means[column.name] = bootstrap([v for _, v in shared], seed)
            if model != UNTOUCHED and all(p in untouched for p, _ in shared):
                differences = [difference(v, untouched[p][column.name]) for p, v in shared]
                gains[column.name] = bootstrap(differences, seed)
                if column.harm is not None and differences:
                    spreads[column.name] = spread(differences, column.harm)
        better = sum(
            sign * v[first] > sign * untouched[p][first] for p, v in values.items() if p in untouched
        )
        rows.append(Row(data, layer, model, means, gains, spreads, better, wins[model], len(values)))
    return rows


def difference(after: float, before: float) -> float:
    """The gain in one picture; 0 where both are infinite, that is, perfect."""
    return 0.0 if after == before else after - before


def spread(gains: Sequence[float], harm: float) -> Spread:
    """See `Spread`; `gains` are of a column where higher is better."""
    ordered = np.sort(np.array(gains, dtype=np.float64))
    worst = ordered[: math.ceil(WORST * len(ordered))]
    return Spread(float(np.median(ordered)), float(worst.mean()), int((ordered < -harm).sum()), len(ordered))


def bootstrap(values: Sequence[float], seed: int) -> Mean:
    """Mean and 95 % interval from resampling pictures with replacement; a single picture has no interval."""
    array = np.array([v for v in values if not math.isnan(v)], dtype=np.float64)
    if len(array) == 0:
        return Mean(math.nan, math.nan, math.nan, 0)
    mean = float(array.mean())
    if len(array) == 1 or not np.isfinite(array).all():
        return Mean(mean, math.nan, math.nan, len(array))
    picks = np.random.default_rng(seed).integers(0, len(array), (RESAMPLES, len(array)))
    low, high = np.percentile(array[picks].mean(1), [2.5, 97.5])
    return Mean(mean, float(low), float(high), len(array))


def prices(records: Sequence[Record]) -> list[Price]:
    """Time and memory a megapixel of every model that was timed."""
    found = []
    for model in models_of(records):
        timed = [r for r in records if r.model == model and r.seconds is not None]
        if not timed:
            continue
        seconds = [r.seconds / r.megapixels() for r in timed if r.seconds is not None]
        memory = [r.peak_bytes / r.megapixels() for r in timed if r.peak_bytes is not None]
        middle = float(np.median(memory)) if memory else None
        found.append(Price(model, float(np.median(seconds)), middle, timed[0].device))
    return found


def worst_first(records: Sequence[Record], protocol: Protocol) -> list[tuple[str, str]]:
    """(data set, picture), worst first by the first model's first column on the transmission."""
    models = models_of(records)
    model = next((name for name in models if name != UNTOUCHED), models[0] if models else "")
    column = protocol.columns[0]
    sign = 1 if column.higher_is_better else -1
    scores = {
        (r.data, r.picture): sign * next(iter(r.layers.values())).get(column.name, math.inf)
        for r in records
        if r.model == model and r.layers
    }
    return sorted(scores, key=lambda picture: (scores[picture], picture))

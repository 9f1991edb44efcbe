"""What a report says in words: what a model gains over the photo left as it is, and what it spoils."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dereflect.evaluation.protocol import Metric, Protocol
from dereflect.evaluation.records import TRANSMISSION, UNTOUCHED
from dereflect.evaluation.summary import ALL, Row
from dereflect.evaluation.tables import plain

HARMFUL = 0.1
"""Share of photos made worse from which a report warns."""


@dataclass(frozen=True)
class Verdict:
    """A sentence or two on one model and layer."""

    text: str
    harmful: bool = False
    """Whether it spoils so many photos that a reader must not miss it."""


def verdicts(rows: Sequence[Row], protocol: Protocol) -> list[Verdict]:
    """One for each model and layer, over all pictures where there are several data sets.

    Of more than three models only the best on the transmission is spoken of.
    """
    column = protocol.columns[0]
    found, praise = [], ""
    overall = [row for row in rows if row.data == ALL] or list(rows)
    models = {row.model for row in overall} - {UNTOUCHED}
    if len(models) > 3:
        sign = 1 if column.higher_is_better else -1
        first = [
            r for r in overall if r.model in models and r.layer == TRANSMISSION and column.name in r.means
        ]
        best = max(first, key=lambda row: sign * row.means[column.name].mean)
        praise = f"Best of {len(models)} on the transmission: "
        overall = [best]
    for row in overall:
        if row.model != UNTOUCHED and column.name in row.gains:
            before = next(r for r in rows if (r.data, r.layer, r.model) == (row.data, row.layer, UNTOUCHED))
            text = f"{praise}{_gains(row, before, protocol)} {_spread(row, column)}".rstrip()
            spread = row.spreads.get(column.name)
            found.append(Verdict(text, spread is not None and spread.harmed >= HARMFUL * spread.pictures))
    return found


def _gains(row: Row, before: Row, protocol: Protocol) -> str:
    """Both gains, e.g. ``default raises the PSNR of ... by 1.20 dB (from 20.00 to 21.20) and raises ...``."""
    parts: list[str] = []
    for column in protocol.columns:
        if column.harm is None or column.name not in row.gains:
            continue
        gain = row.gains[column.name].mean
        old, new = (plain(r.means[column.name].mean, column) for r in (before, row))
        word = "raises" if gain > 0 else "lowers"
        what = f"the {column.title} of the {row.layer} on {row.data}" if not parts else f"the {column.title}"
        parts.append(f"{word} {what} by {plain(abs(gain), column)} dB (from {old} to {new})")
    return (
        f"{row.model} {' and '.join(parts)} over the photo left as it is, mean of {row.pictures} pictures, "
        f"better on {row.better} of them."
    )


def _spread(row: Row, column: Metric) -> str:
    found = row.spreads.get(column.name)
    if found is None:
        return ""
    spoilt = (
        f"makes {found.harmed} of {found.pictures} ({100 * found.harmed / found.pictures:.0f} %) worse"
        if found.harmed
        else "makes none worse"
    )
    return (
        f"It {spoilt} by more than {column.harm:g} dB; its median gain is "
        f"{plain(found.median, column, sign=True)} dB, that of the worst 5 % "
        f"{plain(found.worst, column, sign=True)} dB."
    )

"""The report as one HTML page that opens offline: the verdict, the tables, and every picture, worst first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from dereflect.evaluation.protocol import Metric, Protocol
from dereflect.evaluation.records import TRANSMISSION, UNTOUCHED, Record
from dereflect.evaluation.summary import Row, worst_first
from dereflect.evaluation.tables import Table
from dereflect.evaluation.verdicts import verdicts


@dataclass(frozen=True)
class ReportFacts:
    """What a reader of the numbers must know beside the numbers."""

    protocol: Protocol
    machine: str
    version: str
    date: str
    absent: dict[str, str]
    """Columns without numbers, and why."""
    notes: dict[str, list[str]]
    """Remarks on each data set."""
    title: str
    """What was measured: the models' names, or the ablation's title."""


def render(
    records: Sequence[Record],
    rows: Sequence[Row],
    tables: Sequence[Table],
    cost: Table | None,
    facts: ReportFacts,
) -> str:
    """The whole page."""
    resources = files("dereflect.evaluation")
    style, script = (resources.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    body = [
        f"<h1>{escape(facts.title)}: how well the glass is taken away</h1>",
        *(
            f'<p class="verdict{" harm" if verdict.harmful else ""}">{escape(verdict.text)}</p>'
            for verdict in verdicts(rows, facts.protocol)
        ),
        '<p class="hint">PSNR tells how close a picture is to the truth: higher is closer, and 3 dB more '
        "halves the squared error. Aligned PSNR first gives the picture the truth's brightness and contrast, "
        "which no single photo tells. SSIM compares structure: 1 is equal.</p>",
        *(_table(table) for table in tables),
        _absent(facts.absent),
        _table(cost) if cost else "",
        _reading(facts),
        "<h2>Pictures, worst first</h2>",
        '<p class="hint">Move over a picture to move the line; what stands left and right of it is '
        "chosen above it, or by a click on a small picture. Numbers are photo → result.</p>",
        *(_picture(place, records, facts.protocol) for place in worst_first(records, facts.protocol)),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>dereflect report: {escape(facts.title)}</title><style>{style}</style></head>"
        f"<body><main>{''.join(body)}</main><script>{script}</script></body></html>\n"
    )


def _absent(absent: dict[str, str]) -> str:
    """One line under the tables, so that no one looks for a missing column."""
    return f'<p class="hint">Not measured: {escape(", ".join(absent))} (reasons below).</p>' if absent else ""


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in table.header)
    notes = list(dict.fromkeys(line.note for line in table.lines if line.note))
    body = ""
    for line in table.lines:
        cells = "".join(
            f'<td class="{"best" if index in line.best else ""}">{_cell(text)}</td>'
            for index, text in enumerate(line.cells)
        )
        mark = f"<sup>{notes.index(line.note) + 1}</sup>" if line.note else ""
        kind = "printed" if line.note else "measured"
        body += f'<tr class="{kind}"><th>{escape(line.label)}{mark}</th>{cells}</tr>'
    foot = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return (
        f"<h2>{escape(table.title)}</h2><div class=wide><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>" + (f"<ol class=notes>{foot}</ol>" if foot else "")
    )


def _cell(text: str) -> str:
    value, bracket, interval = text.partition(" [")
    return escape(value) + (f" <small>[{escape(interval)}</small>" if bracket else "")


def _reading(facts: ReportFacts) -> str:
    """How the numbers were made, closed until asked for."""
    protocol = facts.protocol
    items = [
        f"Protocol “{protocol.name}”: {protocol.source}.",
        f"Sizes: {protocol.size_rule()}.",
        f"Rounding: {protocol.rounding_rule()}. Means are over pictures.",
        "In brackets: 95 % bootstrap interval of the mean, pictures resampled 2,000 times.",
        "Gain: mean of the differences to the untouched input, picture by picture.",
        "Worst 5 %: mean gain of the photos with the lowest gains, rounded up to whole photos.",
        "Wins: pictures on which nothing else is better.",
    ]
    items += [
        f"{column.title}: {column.convention}; {'higher' if column.higher_is_better else 'lower'} is better."
        for column in protocol.columns
        if column.title not in facts.absent
    ]
    items += [f"{title} is absent: {reason}." for title, reason in facts.absent.items()]
    items += [f"{data}: {note}." for data, notes in facts.notes.items() for note in notes]
    items.append(f"dereflect {facts.version}, {facts.machine}, {facts.date}.")
    lines = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f"<details><summary>How these numbers were measured</summary><ul>{lines}</ul></details>"


def _picture(place: tuple[str, str], records: Sequence[Record], protocol: Protocol) -> str:
    data, name = place
    here = [r for r in records if (r.data, r.picture) == place]
    untouched = next((r for r in here if r.model == UNTOUCHED), None)
    sides = {"photo": untouched.pictures["input"]} if untouched else {}
    for record in here:
        if record.model != UNTOUCHED:
            sides |= {f"{record.model}: {layer}": path for layer, path in record.pictures.items()}
    if untouched:
        sides |= {role: path for role, path in untouched.pictures.items() if role != "input"}
    ours = next((side for side in sides if side.endswith(f": {TRANSMISSION}")), "photo")
    numbers = "".join(
        f"<li>{escape(line)}</li>"
        for record in here
        if record.model != UNTOUCHED
        for line in _changes(record, untouched, protocol.columns)
    )
    thumbnails = "".join(
        f'<figure><img loading="lazy" src="{escape(path)}" alt="{escape(side)}">'
        f"<figcaption>{escape(side)}</figcaption></figure>"
        for side, path in sides.items()
    )
    return (
        f'<section class="picture" data-left="photo" data-right="{escape(ours)}">'
        f"<h3>{escape(name)} <small>{escape(data)}, {here[0].width}x{here[0].height}</small></h3>"
        f'<ul class="numbers">{numbers}</ul><div class="thumbnails">{thumbnails}</div></section>'
    )


def _changes(record: Record, untouched: Record | None, columns: Sequence[Metric]) -> list[str]:
    """E.g. ``default, transmission: PSNR 18.20 -> 20.15, ..., SSIM 0.812 -> 0.846``."""
    lines = []
    for layer, numbers in record.layers.items():
        before = untouched.layers.get(layer, {}) if untouched else {}
        parts = [
            f"{c.title} {before[c.name]:.{c.digits}f} → {numbers[c.name]:.{c.digits}f}"
            for c in columns[:3]
            if c.name in numbers and c.name in before
        ]
        lines.append(f"{record.model}, {layer}: {', '.join(parts)}")
    return lines

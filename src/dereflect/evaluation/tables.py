"""Result tables, built once and written as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from dereflect.evaluation.protocol import Metric, Protocol
from dereflect.evaluation.published import published_for
from dereflect.evaluation.records import UNTOUCHED, Record
from dereflect.evaluation.summary import Mean, Price, Row


@dataclass(frozen=True)
class Line:
    """One line of a table."""

    label: str
    cells: list[str]
    note: str = ""
    """Where a printed number comes from; empty for measured ones."""
    best: tuple[int, ...] = ()
    """Cells that hold the best measured value of their column."""


@dataclass(frozen=True)
class Table:
    """A table of one data set and layer."""

    title: str
    header: list[str]
    lines: list[Line]


def result_tables(rows: Sequence[Row], protocol: Protocol) -> list[Table]:
    """One table for each data set and layer: measured rows with intervals, then printed ones."""
    tables = []
    for data, layer in dict.fromkeys((row.data, row.layer) for row in rows):
        group = [row for row in rows if (row.data, row.layer) == (data, layer)]
        columns = [column for column in protocol.columns if any(column.name in r.means for r in group)]
        header = ["model", *(heading(column) for column in columns), f"gain in {columns[0].title}", "wins"]
        lines = [_line(row, columns, group) for row in group]
        for item in published_for(data, layer):
            cells = [plain(_printed(item.values, column), column) for column in columns]
            note = f"{item.source}, {item.table}; measured by its authors, protocol '{item.protocol}'"
            lines.append(Line(item.method, [*cells, "", ""], note))
        tables.append(Table(f"{data}, {layer} ({group[0].pictures} pictures)", header, lines))
    return tables


def gain_tables(rows: Sequence[Row], protocol: Protocol) -> list[Table]:
    """One table for each data set and layer: how the gains over the untouched photo are spread."""
    tables = []
    for data, layer in dict.fromkeys((row.data, row.layer) for row in rows):
        group = [row for row in rows if (row.data, row.layer) == (data, layer)]
        lines = [
            Line(f"{row.model}, {column.title}", _gain_cells(row, column))
            for column in protocol.columns
            for row in group
            if column.name in row.spreads
        ]
        harm = next((column.harm for column in protocol.columns if column.harm is not None), None)
        header = ["model, measure", "mean", "median", "worst 5 %", f"worse by more than {harm:g} dB"]
        if lines:
            tables.append(Table(f"{data}, {layer}: gain over the untouched photo in dB", header, lines))
    return tables


def _gain_cells(row: Row, column: Metric) -> list[str]:
    found = row.spreads[column.name]
    return [
        with_interval(row.gains[column.name], column, sign=True),
        plain(found.median, column, sign=True),
        plain(found.worst, column, sign=True),
        f"{found.harmed} of {found.pictures} ({100 * found.harmed / found.pictures:.0f} %)",
    ]


def heading(column: Metric) -> str:
    """The column's title with an arrow that says which way is better."""
    return f"{column.title} {'↑' if column.higher_is_better else '↓'}"


def _line(row: Row, columns: Sequence[Metric], group: Sequence[Row]) -> Line:
    cells = [with_interval(row.means.get(column.name), column) for column in columns]
    gain = row.gains.get(columns[0].name)
    cells += [with_interval(gain, columns[0], sign=True) if gain else "", f"{row.wins} of {row.pictures}"]
    best = tuple(index for index, column in enumerate(columns) if _is_best(row, column, group))
    return Line(row.model, cells, best=best)


def _is_best(row: Row, column: Metric, group: Sequence[Row]) -> bool:
    values = [r.means[column.name].mean for r in group if column.name in r.means]
    mine = row.means.get(column.name)
    return (
        mine is not None
        and len(values) > 1
        and mine.mean == (max if column.higher_is_better else min)(values)
    )


def with_interval(value: Mean | None, column: Metric, sign: bool = False) -> str:
    """A mean as text, with its interval where there is one; "absent" where there is no number."""
    if value is None or math.isnan(value.mean):
        return "absent"
    text = plain(value.mean, column, sign)
    if math.isnan(value.low):
        return text
    return f"{text} [{plain(value.low, column, sign)}, {plain(value.high, column, sign)}]"


def plain(value: float | None, column: Metric, sign: bool = False) -> str:
    """A number as text in the column's digits; empty for none."""
    if value is None:
        return ""
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:{'+' if sign else ''}.{column.digits}f}"


def _printed(values: dict[str, float], column: Metric) -> float | None:
    if column.name == "lpips_alex" and "lpips" in values:
        return values["lpips"]  # the paper does not name its network; AlexNet is the package's default
    return values.get(column.name)


def price_table(prices: Sequence[Price]) -> Table | None:
    """Time and memory a megapixel, or None where nothing was timed."""
    lines = [
        Line(
            price.model,
            [
                price.device,
                f"{price.seconds_per_megapixel:.2f}",
                "not measured"
                if price.bytes_per_megapixel is None
                else f"{price.bytes_per_megapixel / 2**20:.0f}",
            ],
        )
        for price in prices
    ]
    title = "Cost of separating one picture (medians over pictures)"
    header = ["model", "ran on", "seconds / megapixel", "peak MiB / megapixel beyond the model"]
    return Table(title, header, lines) if lines else None


def to_markdown(table: Table) -> str:
    """A pipe table; best values in bold, printed rows in italics with their source below."""

    def cell(text: str, strong: bool) -> str:
        return f"**{text}**" if strong and text else text

    out = [f"### {table.title}", "", "| " + " | ".join(table.header) + " |"]
    out.append("|" + "|".join([" --- "] + [" ---: "] * (len(table.header) - 1)) + "|")
    notes = list(dict.fromkeys(line.note for line in table.lines if line.note))
    for line in table.lines:
        label = f"*{line.label}* [{notes.index(line.note) + 1}]" if line.note else line.label
        cells = [cell(text, index in line.best) for index, text in enumerate(line.cells)]
        out.append("| " + " | ".join([label, *cells]) + " |")
    out += [""] + [f"[{number}] printed in {note}  " for number, note in enumerate(notes, 1)]
    return "\n".join(out).rstrip() + "\n"


def to_latex(table: Table) -> str:
    """A booktabs table; best values bold, intervals small, printed rows below a rule with their source."""
    out = ["\\begin{table}", "\\centering", f"\\caption{{{_tex(table.title)}.}}"]
    out += [f"\\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}", "\\toprule"]
    out += [" & ".join(_tex(title) for title in table.header) + " \\\\", "\\midrule"]
    notes = list(dict.fromkeys(line.note for line in table.lines if line.note))
    ruled = False
    for line in table.lines:
        if line.note and not ruled:
            out.append("\\midrule")
            ruled = True
        label = _tex(line.label) + (f"$^{{{notes.index(line.note) + 1}}}$" if line.note else "")
        cells = []
        for index, text in enumerate(line.cells):
            value, _, interval = text.partition(" [")
            value = f"\\textbf{{{_tex(value)}}}" if index in line.best else _tex(value)
            cells.append(value + (f" {{\\scriptsize [{_tex(interval)}}}" if interval else ""))
        out.append(" & ".join([label, *cells]) + " \\\\")
    out += ["\\bottomrule", "\\end{tabular}"]
    out += [f"\\\\ {{\\scriptsize $^{{{n}}}$ {_tex(note)}}}" for n, note in enumerate(notes, 1)]
    return "\n".join([*out, "\\end{table}", ""])


def _tex(text: str) -> str:
    for symbol, escaped in (
        ("\\", "\\textbackslash "),
        ("&", "\\&"),
        ("%", "\\%"),
        ("_", "\\_"),
        ("#", "\\#"),
    ):
        text = text.replace(symbol, escaped)
    for symbol, escaped in (("∞", "$\\infty$"), ("↑", "$\\uparrow$"), ("↓", "$\\downarrow$")):
        text = text.replace(symbol, escaped)
    return text


def to_csv(records: Sequence[Record], protocol: Protocol) -> str:
    """One line for each picture, model and layer; numbers in full."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [c.name for c in protocol.columns if any(c.name in m for r in records for m in r.layers.values())]
    fixed = ["data", "picture", "model", "layer", "width", "height"]
    writer.writerow([*fixed, *names, "seconds", "peak_bytes"])
    for r in records:
        for layer, numbers in r.layers.items():
            cost = [
                "" if r.model == UNTOUCHED or value is None else value for value in (r.seconds, r.peak_bytes)
            ]
            row = [r.data, r.picture, r.model, layer, r.width, r.height]
            writer.writerow([*row, *(repr(numbers[n]) if n in numbers else "" for n in names), *cost])
    return out.getvalue()

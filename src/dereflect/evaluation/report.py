"""Write a report: results.json, results.csv, tables.md, tables.tex and report.html."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dereflect._version import __version__
from dereflect.data.layouts import DataSet
from dereflect.evaluation.page import ReportFacts, render
from dereflect.evaluation.protocol import Protocol
from dereflect.evaluation.records import UNTOUCHED, Record, encode, models_of
from dereflect.evaluation.summary import prices, summarise
from dereflect.evaluation.tables import gain_tables, price_table, result_tables, to_csv, to_latex, to_markdown
from dereflect.files import write_text

if TYPE_CHECKING:
    from dereflect.evaluation.ablation import Ablation


def write_report(
    folder: Path,
    records: Sequence[Record],
    data: Sequence[DataSet],
    protocol: Protocol,
    absent: dict[str, str],
    ablation: Ablation | None = None,
) -> list[Path]:
    """Write all files of a report into `folder`, replacing those of an earlier one.

    Args:
        absent: titles of columns that could not be measured, and why.
        ablation: what the models are variants of, for a table in the paper's shape.

    Returns:
        The files written, the page first.
    """
    rows = summarise(records, protocol)
    tables = [*result_tables(rows, protocol), *gain_tables(rows, protocol)]
    if ablation is not None:
        from dereflect.evaluation.ablation import ablation_table

        tables = [ablation_table(ablation, rows, protocol), *tables]
    cost = price_table(prices(records))
    models = ", ".join(model for model in models_of(records) if model != UNTOUCHED)
    title = ablation.title if ablation is not None else models
    now, notes = datetime.datetime.now(datetime.UTC), {item.name: item.notes for item in data}
    facts = ReportFacts(protocol, _machine(), __version__, now.strftime("%Y-%m-%d"), absent, notes, title)
    content = {
        "dereflect": __version__,
        "date": now.isoformat(timespec="seconds"),
        "machine": facts.machine,
        "protocol": _protocol(protocol),
        "absent": absent,
        "data": [
            {"name": d.name, "folder": str(d.folder), "pictures": len(d.pairs), "notes": d.notes}
            for d in data
        ],
        "summary": [asdict(row) for row in rows],
        "cost": [asdict(price) for price in prices(records)],
        "pictures": [asdict(record) for record in records],
    }
    everything = [*tables, *([cost] if cost else [])]
    texts = {
        "report.html": render(records, rows, tables, cost, facts),
        "results.json": json.dumps(encode(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "results.csv": to_csv(records, protocol),
        "tables.md": "\n".join(to_markdown(table) for table in everything),
        "tables.tex": "\n".join(to_latex(table) for table in everything),
    }
    paths = []
    for name, text in texts.items():
        path = folder / name
        write_text(text, path)
        paths.append(path)
    return paths


def _machine() -> str:
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} CPU cores, {system}"


def _protocol(protocol: Protocol) -> dict[str, Any]:
    """How everything was measured, in words."""
    return {
        "name": protocol.name,
        "source": protocol.source,
        "sizes": protocol.size_rule(),
        "rounding": protocol.rounding_rule(),
        "columns": {column.name: column.convention for column in protocol.columns},
    }

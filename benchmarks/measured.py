"""The measured numbers: one file, `docs/measured.json`, which benchmarks write and pages are filled from.

    python benchmarks/identity.py PHOTOS --record     # measure, and replace its entry in the file
    python benchmarks/measured.py                     # write the file's numbers into README.md and docs/
    python benchmarks/measured.py --check             # exit code 1 if a page shows another number

An entry holds values, command, machine, date and the commit that was measured. Pages mark what they take:

    <!-- m KEY FIELD:FORMAT -->3.4<!-- /m -->          one value; FIELD is a path like rows.0.seconds
    <!-- measured KEY                                  a table, whose row with {fields} repeats for each row
    | size | seconds |
    |---|---|
    | {size} | {seconds:.2f} |
    -->

The table, and a line that says where its numbers come from, follow the mark up to `<!-- /measured -->`.
FORMAT is Python's, or `.0 %` for a share in per cent.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import shlex
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docs" / "measured.json"
SPAN = re.compile(r"<!-- m (?P<key>\S+) (?P<field>[\w.]+)(?::(?P<format>[^>]*?))? -->.*?<!-- /m -->")
TABLE = re.compile(
    r"(?P<mark><!-- measured (?P<key>\S+)\n(?P<rows>.*?)-->)\n.*?<!-- /measured -->", re.DOTALL
)


def add_option(parser: argparse.ArgumentParser, key: str) -> None:
    """Add ``--record [KEY]`` to a benchmark; `key` is the entry that it writes if none is named."""
    text = f"write what was measured into docs/measured.json (as {key})"
    parser.add_argument("--record", nargs="?", const=key, metavar="KEY", help=text)


def record(
    options: argparse.Namespace, values: dict[str, Any], machine: str = "", part: str = "", command: str = ""
) -> None:
    """Replace the entry that ``--record`` asks for, if it does.

    Args:
        machine: what to say of the machine beyond processor and threads, e.g. the number format.
        part: appended to the key by benchmarks that write several entries.
        command: what measured, if it was not this script.
    """
    if not options.record:
        return
    words = [word for word in sys.argv if word not in ("--record", options.record)]
    entry = {
        "command": command or shlex.join(["python", os.path.relpath(words[0], ROOT), *words[1:]]),
        "machine": ", ".join(filter(None, (processor(), machine))),
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        "commit": commit(),
        "values": values,
    }
    key = options.record + part
    write(read() | {key: entry})
    print(f"recorded as {key}; python benchmarks/measured.py brings it into the pages", file=sys.stderr)


def processor() -> str:
    """Threads and processor, and the load if other work disturbed the measurement."""
    name, text = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if text.is_file() and (found := re.search(r"model name\s*: (.+)", text.read_text())):
        name = found[1].strip()
    threads = os.environ.get("OMP_NUM_THREADS") or str(_cores())
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    disturbed = f", load {busy:.1f}" if busy > 1.5 * int(threads) else ""
    return f"{threads} {'thread' if threads == '1' else 'threads'} of {name}{disturbed}"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def commit() -> str:
    """The short name of the commit that is checked out; with a plus if files differ from it."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    changed = git("status", "--porcelain", "--", "src", "benchmarks")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def read() -> dict[str, Any]:
    """All entries."""
    content: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return content


def write(entries: dict[str, Any]) -> None:
    """Write all entries, sorted; a row of a table is one line, so that changes read well."""
    FILE.write_text(_pretty(dict(sorted(entries.items()))) + "\n", encoding="utf-8")


def _pretty(value: Any, indent: str = "") -> str:
    flat = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or (len(flat) <= 90 and '"rows"' not in flat):
        return flat
    deeper = indent + "  "
    if isinstance(value, list):
        body, ends = [deeper + json.dumps(item, ensure_ascii=False) for item in value], "[]"
    else:
        body, ends = (
            [f"{deeper}{json.dumps(name)}: {_pretty(item, deeper)}" for name, item in value.items()],
            "{}",
        )
    return ends[0] + "\n" + ",\n".join(body) + f"\n{indent}{ends[1]}"


class _Formatter(string.Formatter):
    """`str.format` that leaves a missing value empty and writes shares as ``61 %``."""

    def format_field(self, value: Any, format_spec: str) -> str:
        if value is None:
            return ""
        if format_spec.endswith(" %"):
            return f"{100 * value:{format_spec[:-2]}f} %"
        return format(value, format_spec)


def fill(text: str, entries: dict[str, Any]) -> str:
    """A page with its marked numbers as the entries have them.

    Raises:
        KeyError: a mark names an entry or field that is not there.
    """

    def span(match: re.Match[str]) -> str:
        entry = entries[match["key"]]
        value: Any = entry if match["field"] in entry else entry["values"]
        for part in match["field"].split("."):
            value = value[int(part)] if isinstance(value, list) else value[part]
        head = match[0][: match[0].index("-->") + 3]
        return f"{head}{_Formatter().format_field(value, match['format'] or '')}<!-- /m -->"

    def table(match: re.Match[str]) -> str:
        entry, lines = entries[match["key"]], []
        for line in match["rows"].splitlines():
            rows = entry["values"]["rows"] if "{" in line else [{}]
            empty = dict.fromkeys(key for row in rows for key in row)  # a row may lack what others have
            lines += [_Formatter().vformat(line, (), empty | row) for row in rows]
        source = [f"`{entry['command']}`", entry["machine"], entry.get("note"), entry["date"]]
        caption = f"*Measured: {'; '.join(filter(None, source))}.*"
        return "\n".join([match["mark"], "", *lines, "", caption, "<!-- /measured -->"])

    return TABLE.sub(table, SPAN.sub(span, text))


def pages() -> list[Path]:
    """Every page that may show a measured number."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def main() -> None:
    """Fill the pages, or check them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a page differs")
    check, entries, stale = parser.parse_args().check, read(), []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        if (filled := fill(text, entries)) != text:
            stale.append(page.relative_to(ROOT).as_posix())
            if not check:
                page.write_text(filled, encoding="utf-8")
    print(f"{'differ' if check else 'written'}: {', '.join(stale) or 'none'}")
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    main()

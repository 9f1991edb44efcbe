"""The manifest: one row a photo, in Parquet, in small parts that are each written once.

A part is a whole file or not there at all, so a run that dies leaves a manifest that is true, if short. Of
several rows of one photo the latest counts. At the end of a run that is alone, the parts become one file.
"""

from __future__ import annotations

import contextlib
import io
import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Any

from dereflect.batch.store import Store
from dereflect.errors import InputError, MissingExtra, first_line
from dereflect.escapes import unescaped
from dereflect.outputs import BATCH_FOLDER

FOLDER = f"{BATCH_FOLDER}/manifest"
COLUMNS = {
    "path": "string",  # below the source; as all paths here in printable characters, see `escapes`
    "state": "string",  # done, refused, failed
    "error": "string",
    "source_bytes": "int64",
    "source_version": "string",  # what changes when the file changes: its entity tag or time
    "source_sha256": "string",
    "width": "int32",
    "height": "int32",
    "transmission": "string",  # below the destination; "" where it was not asked for
    "transmission_bytes": "int64",
    "transmission_sha256": "string",
    "reflection": "string",
    "reflection_bytes": "int64",
    "reflection_sha256": "string",
    "residual": "float32",
    "reflection_found": "bool_",  # null: the model does not say
    "seconds": "float32",
    "how": "string",
    "notes": "list",  # what a person should know: how it was read, and what its format could not keep
    "model": "string",
    "version": "string",
    "fingerprint": "string",  # of the model and the settings
    "worker": "string",
    "attempts": "int32",  # times that a worker has begun it
    "finished": "float64",  # seconds since 1970
}
_EMPTY = {"string": "", "list": (), "bool_": None, "int32": 0, "int64": 0, "float32": 0.0, "float64": 0.0}
NOTHING: dict[str, Any] = {name: _EMPTY[kind] for name, kind in COLUMNS.items()}
"""A row that says nothing, for rows to begin with."""
_NEEDED = (
    "path", "state", "source_bytes", "source_version", "fingerprint", "finished",
    "transmission", "transmission_bytes", "reflection", "reflection_bytes",
)  # fmt: skip


class Manifest:
    """The rows of a destination.

    Args:
        store: the destination.
        rows_a_part, seconds_a_part: a part is written when this many rows are waiting, or this long after
            the last.
    """

    def __init__(self, store: Store, rows_a_part: int = 5000, seconds_a_part: float = 20.0) -> None:
        self.store = store
        self.rows_a_part = rows_a_part
        self.seconds_a_part = seconds_a_part
        self._waiting: list[Mapping[str, Any]] = []
        self._written = time.monotonic()

    def add(self, row: Mapping[str, Any]) -> None:
        """Take a row; it is safe once its part is written. A part that fails is tried again with the next."""
        self._waiting.append(row)
        late = time.monotonic() - self._written > self.seconds_a_part
        if len(self._waiting) % self.rows_a_part == 0 or late:
            with contextlib.suppress(InputError):  # a store may be away for a moment in a run of days
                self.flush()
            self._written = time.monotonic()

    def flush(self) -> None:
        """Write what is waiting.

        Raises:
            InputError: it cannot be written.
        """
        if self._waiting:
            try:
                self._write_part(_table(self._waiting))
            except OSError as error:
                raise InputError(
                    f"{self.store}/{FOLDER}", f"cannot be written ({first_line(error)})"
                ) from error
        self._waiting = []
        self._written = time.monotonic()

    def read(self) -> dict[str, dict[str, Any]]:
        """The latest row of each photo, by its path, with the columns that a run needs to go on.

        Paths are as the file system has them, not escaped.
        """
        latest: dict[str, dict[str, Any]] = {}
        for part in self._read_parts(_NEEDED):
            for row in part.to_pylist():
                row |= {name: unescaped(row[name]) for name in ("path", "transmission", "reflection")}
                known = latest.get(row["path"])
                if known is None or known["finished"] <= row["finished"]:
                    latest[row["path"]] = row
        return latest

    def table(self) -> Any:
        """Everything as one `pyarrow.Table`, one row a photo, in the order of paths."""
        pyarrow = _import_pyarrow()
        parts = self._read_parts()
        if not parts:
            return _table([])
        # Parts of an earlier version lack columns, which are null then.
        whole = pyarrow.concat_tables(parts, promote_options="default").sort_by(
            [("path", "ascending"), ("finished", "ascending")]
        )
        paths = whole.column("path").to_pylist()
        last = [
            index for index, path in enumerate(paths) if index + 1 == len(paths) or paths[index + 1] != path
        ]
        return whole.take(last)

    def compact(self) -> None:
        """Make one part of all: only for a run that is alone. Dying within it loses and doubles nothing."""
        self.flush()
        parts = self._parts()
        if len(parts) < 2:
            return
        self._write_part(self.table())
        for part in parts:
            self.store.remove(part)

    def _parts(self) -> list[str]:
        return sorted(path for path in self.store.entries(FOLDER) if path.endswith(".parquet"))

    def _read_parts(self, columns: Iterable[str] | None = None) -> list[Any]:
        """All parts; anew where another run has put some together meanwhile."""
        for _ in range(10):
            try:
                return [self._read_part(part, columns) for part in self._parts()]
            except InputError as error:
                if not isinstance(error.__cause__, FileNotFoundError):
                    raise
        return [self._read_part(part, columns) for part in self._parts()]

    def _read_part(self, path: str, columns: Iterable[str] | None = None) -> Any:
        _import_pyarrow()
        import pyarrow.parquet

        try:
            wanted = None if columns is None else list(columns)
            table = pyarrow.parquet.read_table(io.BytesIO(self.store.read(path)), columns=wanted)
            table.validate(full=True)  # damaged values would come up later, as no fault of a file
            return table
        except Exception as error:
            reason = f"this part of the manifest cannot be read ({first_line(error)}); move it away"
            raise InputError(f"{self.store}/{path}", reason) from error

    def _write_part(self, table: Any) -> None:
        import pyarrow.parquet

        buffer = io.BytesIO()
        pyarrow.parquet.write_table(table, buffer, compression="zstd")
        # Time first, so that names sort by age.
        name = f"{FOLDER}/{time.time_ns():020d}-{secrets.token_hex(4)}.parquet"
        self.store.write(name, buffer.getvalue())


def _table(rows: list[Mapping[str, Any]]) -> Any:
    return _import_pyarrow().Table.from_pylist([{**NOTHING, **row} for row in rows], schema=_schema())


def _schema() -> Any:
    pyarrow = _import_pyarrow()
    kinds = {kind: getattr(pyarrow, kind) for kind in _EMPTY if kind != "list"}
    kinds["list"] = lambda: pyarrow.list_(pyarrow.string())
    return pyarrow.schema([(name, kinds[kind]()) for name, kind in COLUMNS.items()])


def _import_pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise MissingExtra("pyarrow", "batch", "the manifest of dereflect batch") from error
    return pyarrow

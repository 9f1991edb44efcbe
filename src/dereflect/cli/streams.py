"""Standard output and error that may be closed, full, or read by nobody."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

from dereflect.errors import first_line


class OutputLost(Exception):  # noqa: N818 - not an OSError: click would end the process for some of those
    """Standard output could not be written. Says why."""


class _Watched:
    """A stream whose faults are `OutputLost`."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    @property
    def buffer(self) -> _Watched:
        """The stream of bytes below, watched too."""
        return _Watched(None if self._stream is None else self._stream.buffer)

    def write(self, content: Any) -> Any:
        """As of the stream."""
        with self._faults():
            if self._stream is None:
                raise OSError(errno.EBADF, "it is closed")
            return self._stream.write(content)

    def writelines(self, lines: Any) -> None:
        """As of the stream."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """As of the stream."""
        if self._stream is not None:
            with self._faults():
                self._stream.flush()

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # ValueError: closed within Python
            if isinstance(error, UnicodeError):
                raise
            raise OutputLost(first_line(error)) from error

    def __getattr__(self, name: str) -> Any:
        return getattr(io.StringIO() if self._stream is None else self._stream, name)


class _Forgiving(_Watched):
    """A stream whose faults do not matter: there is nobody left to tell, and the work goes on."""

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        with contextlib.suppress(OSError, OutputLost):
            yield


@contextlib.contextmanager
def watched_streams() -> Iterator[None]:
    """Within, what cannot be written to standard output is `OutputLost`; to standard error, it is lost.

    Characters that the streams' encoding lacks are written as escapes, as Python does for standard error.

    Raises:
        OutputLost: also at the end, for what was still on its way.
    """
    out: Any = sys.stdout
    err = sys.stderr
    if getattr(out, "errors", None) == "strict":
        with contextlib.suppress(AttributeError, OSError, ValueError):  # what a caller put in its place
            out.reconfigure(errors="backslashreplace")
    watched: Any = _Watched(out)
    forgiving: Any = _Forgiving(err)
    sys.stdout, sys.stderr = watched, forgiving
    try:
        yield
        watched.flush()
    except OutputLost:
        _silence(out)
        raise
    finally:
        sys.stdout, sys.stderr = out, err
        try:
            if err is not None:
                err.flush()
        except (OSError, ValueError):
            _silence(err)


def _silence(stream: Any) -> None:
    """Send the rest nowhere, or Python would complain once more when it ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)

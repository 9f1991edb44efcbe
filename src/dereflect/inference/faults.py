"""Pictures of a stream that failed, while the others go on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

from dereflect.errors import DereflectError, InputError, fault_of


class StreamFaults:
    """Pictures of a stream that failed."""

    def __init__(self, tell: Callable[[int, DereflectError], None] | None) -> None:
        self.seen = -1
        self._tell = tell
        self._count = 0
        self._first: DereflectError | None = None

    @contextlib.contextmanager
    def noted(self, number: int, image: Any = None) -> Iterator[None]:
        """Within, an exception counts as this picture's failure; the fault of an argument is raised."""
        try:
            yield
        except Exception as error:
            if isinstance(error, DereflectError) and (error.option or error.setting):
                raise
            is_path = isinstance(image, (str, os.PathLike))
            fault = fault_of(error, os.fspath(image) if is_path else f"picture {number}")
            self._count += 1
            if self._tell is not None:
                self._tell(number, fault)
            elif self._first is None:
                self._first = fault.with_traceback(None)  # which would hold the picture

    def finish(self) -> None:
        """Raise the failures that nobody was told of."""
        if self._first is None:
            return
        if self._count == 1:
            raise self._first
        reason = f"failed; the first: {self._first.line()}"
        raise InputError(f"{self._count} of {self.seen + 1} pictures", reason) from self._first

"""Compiled kernels over tables, kept on disk until any source that goes into them changes.

Numba keeps compiled code until the file of the function changes. Our kernels inline what `dereflect.nn.simd`
and the other files of their own folder define, so the stamp of what is kept covers those files, too.
Importing this module imports Numba (the extra ``fast``).
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from numba import from_dtype, types
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.ccallback import CFunc

from dereflect.nn.simd.table import record_type

SHARED = Path(__file__).parent
"""Sources that every kernel may inline."""


def kernel(table: type[NamedTuple]) -> Callable[[Callable[[Any], None]], Any]:
    """Compile a function of a pointer to a record of `table`, for `dereflect.nn.threads.run`.

    In the function ``carray(pointer, 1)[0]`` is the record, whose fields have the names of the table's, and
    ``next_task(pointer)`` is the number of a task that no other thread has.
    """
    pointer = types.CPointer(from_dtype(record_type(table)))

    def compiled(function: Callable[[Any], None]) -> Any:
        made = _Kernel(function, ((pointer,), types.void), {}, {})
        made.enable_caching()
        made.compile()
        return made

    return compiled


def sources_digest(folders: Iterable[Path]) -> str:
    """A hash of all Python sources that lie in some folders."""
    whole = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.glob("*.py")):
            whole.update(path.name.encode())
            whole.update(path.read_bytes())
    return whole.hexdigest()


class _Stamped:
    """A cache locator of Numba whose stamp covers the sources that a function inlines."""

    def __init__(self, locator: Any, digest: str) -> None:
        self._locator, self._digest = locator, digest

    def get_source_stamp(self) -> tuple[Any, str]:
        """What has to be unchanged for compiled code to be used again."""
        return self._locator.get_source_stamp(), self._digest

    def __getattr__(self, name: str) -> Any:
        return getattr(self._locator, name)


class _CacheImpl(CompileResultCacheImpl):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        folders = dict.fromkeys((SHARED, Path(inspect.getfile(function)).parent))
        self._locator: Any = _Stamped(self.locator, sources_digest(folders))


class _Cache(FunctionCache):
    _impl_class = _CacheImpl


class _Kernel(CFunc):
    def enable_caching(self) -> None:
        """Keep compiled code on disk."""
        self._cache = _Cache(self.__wrapped__)

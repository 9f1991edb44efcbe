"""What one worker does: photos in, outputs written, a row of the manifest for each. Knows no cluster."""

from __future__ import annotations

import os
import posixpath
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from dereflect import images
from dereflect.batch.job import LARGEST_FILE, BatchJob
from dereflect.batch.manifest import NOTHING
from dereflect.batch.plan import BatchPhoto
from dereflect.batch.store import Store, digest
from dereflect.errors import UNNAMED, DereflectError, InputError, MissingExtra, Spell, fault_of, trace_of
from dereflect.escapes import escaped, one_line
from dereflect.images import Picture
from dereflect.images.writing import target_format
from dereflect.inference.run import is_out_of_memory
from dereflect.separation import Separation, output_paths

if TYPE_CHECKING:
    from dereflect.separator import Separator

ManifestRow = dict[str, Any]
TRACE = "trace"
"""Of a row that failed: where, in many lines. It does not go into the manifest."""
Encoded = dict[str, tuple[str, bytes]]
"""Layer to (path below the destination, file content)."""
READS_AHEAD = 2
WRITES_BEHIND = 2


@dataclass
class _Read:
    """A photo that is decoded and waits for others of its size."""

    photo: BatchPhoto
    picture: Picture
    row: ManifestRow


class Worker:
    """Holds one model and does photos with it; reading and writing overlap with the network.

    Args:
        job: what to do.
        separator: to use in place of the one that the job describes.

    Raises:
        ModelError: the model cannot be loaded.
    """

    def __init__(self, job: BatchJob, separator: Separator | None = None) -> None:
        from dereflect.separator import load

        self.job = job
        self.source = Store(job.source)
        self.destination = Store(job.destination)
        self.separator = separator or load(
            job.model, options=job.options, max_pixels=job.max_pixels, **job.settings
        )
        self.name = f"{socket.gethostname()}:{os.getpid()}"

    def work(
        self, photos: Iterable[BatchPhoto], begin: Callable[[BatchPhoto], None] | None = None
    ) -> Iterator[ManifestRow]:
        """Do some photos. Every one comes back as a row, whatever happens to it.

        Args:
            photos: what to do.
            begin: called just before a photo is decoded, which is where a bad one may kill the process.
        """
        with ThreadPoolExecutor(READS_AHEAD) as readers, ThreadPoolExecutor(WRITES_BEHIND) as writers:
            writing: list[Future[ManifestRow]] = []
            for row, encoded in self._separated(self._decoded(readers, photos, begin)):
                if encoded is None:
                    yield row
                    continue
                writing.append(writers.submit(self._write, row, encoded))
                while len(writing) > WRITES_BEHIND or (writing and writing[0].done()):
                    yield writing.pop(0).result()
            for future in writing:
                yield future.result()

    def _decoded(
        self,
        readers: ThreadPoolExecutor,
        photos: Iterable[BatchPhoto],
        begin: Callable[[BatchPhoto], None] | None,
    ) -> Iterator[_Read | ManifestRow]:
        for photo, content in _read_ahead(readers, self._read, photos):
            row = self._new_row(photo)
            try:
                data = content.result()
                row["source_sha256"] = digest(data)
                if begin is not None:
                    begin(photo)
                picture = images.read(data, self.job.max_pixels, raw_space=self.job.raw_space)
                row |= {"width": picture.width, "height": picture.height}
                yield _Read(photo, picture, row)
            except Exception as error:
                yield _failed(row, error, self.job.spell)

    def _separated(
        self, items: Iterable[_Read | ManifestRow]
    ) -> Iterator[tuple[ManifestRow, Encoded | None]]:
        """Rows that failed, as they are, and separated photos with what is to be written."""
        waiting: dict[tuple[int, ...], list[_Read]] = {}
        size = self.job.batch_size
        for item in items:
            if isinstance(item, dict):
                yield item, None
                continue
            same = waiting.setdefault(item.picture.pixels.shape, [])
            same.append(item)
            if len(same) == size:
                yield from self._run(waiting.pop(item.picture.pixels.shape))
            elif sum(map(len, waiting.values())) > 2 * size:  # many sizes: hold no more than two batches
                longest = max(waiting, key=lambda shape: len(waiting[shape]))
                yield from self._run(waiting.pop(longest))
        for rest in waiting.values():
            yield from self._run(rest)

    def _run(self, items: list[_Read]) -> Iterator[tuple[ManifestRow, Encoded | None]]:
        if len(items) > 1:
            try:
                pictures = [item.picture for item in items]
                strength = self.job.strength
                results = list(self.separator.stream(pictures, len(items), strength=strength))
            except Exception:  # one of them is at fault, or they are too much at once: singly, then
                results = []
            if results:
                for item, result in zip(items, results, strict=True):
                    yield self._finish(item, result)
                return
        for item in items:
            yield self._finish(item)

    def _finish(self, item: _Read, result: Separation | None = None) -> tuple[ManifestRow, Encoded | None]:
        try:
            paths = self._output_paths(item)
            result = result or self.separator(item.picture, strength=self.job.strength)
            item.row |= {
                "residual": result.residual,
                "reflection_found": result.reflection_found,
                "seconds": result.seconds,
                "how": result.how,
                "version": result.version,
            }
            name = target_format(item.picture.format, self.job.format)
            lost = result.losses(paths, self.job.format, self.job.metadata)
            item.row["notes"] = [*result.notes, *lost]
            encoded = {
                layer: (path, images.encode(result.pictures[layer], name, self.job.metadata))
                for layer, path in paths.items()
            }
        except Exception as error:
            return _failed(item.row, error, self.job.spell), None
        return item.row, encoded

    def _output_paths(self, item: _Read) -> dict[str, str]:
        own = PurePosixPath(item.photo.path)
        named = output_paths(
            Path(), own.stem, item.picture.format, own.suffix, self.job.layers, self.job.format
        )
        paths = {layer: (own.parent / path.name).as_posix() for layer, path in named.items()}
        for path in paths.values():
            if not item.photo.alone and posixpath.splitext(path)[1] != own.suffix:
                raise InputError(
                    UNNAMED,
                    f"its output {escaped(path)} could be that of another photo of this name; "
                    "rename one of them",
                )
        return paths

    def _new_row(self, photo: BatchPhoto) -> ManifestRow:
        return NOTHING | {
            "path": escaped(photo.path),
            "source_bytes": photo.size,
            "source_version": photo.version,
            "model": self.separator.name,
            "fingerprint": self.job.fingerprint,
            "worker": self.name,
            "attempts": 1,
        }

    def _read(self, photo: BatchPhoto) -> bytes:
        if photo.size > LARGEST_FILE:
            raise InputError(
                UNNAMED, f"is {photo.size / 1e9:.1f} GB; files over {LARGEST_FILE / 1e9:.1f} GB are refused"
            )
        return self.source.read(photo.path)

    def _write(self, row: ManifestRow, encoded: Encoded) -> ManifestRow:
        try:
            for layer, (path, content) in encoded.items():
                self.destination.write(path, content)
                row |= {
                    layer: escaped(path),
                    f"{layer}_bytes": len(content),
                    f"{layer}_sha256": digest(content),
                }
        except Exception as error:
            return _failed(row, error, self.job.spell)
        return row | {"state": "done", "finished": time.time()}


def given_up(photo: BatchPhoto, job: BatchJob, attempts: int) -> ManifestRow:
    """The row of a photo that has taken its worker down with it again and again."""
    return NOTHING | {
        "path": escaped(photo.path),
        "state": "refused",
        "error": f"its worker died {attempts} times while at it (out of memory, or a fault in a decoder)",
        "source_bytes": photo.size,
        "source_version": photo.version,
        "model": job.model,
        "fingerprint": job.fingerprint,
        "attempts": attempts,
        "finished": time.time(),
    }


def _failed(row: ManifestRow, error: Exception, spell: Spell) -> ManifestRow:
    """The picture's fault is a refusal; anything else (a full disk, too little memory) is worth a retry."""
    refused = isinstance(error, DereflectError) and not isinstance(error, MissingExtra)
    refused = refused and not any(map(is_out_of_memory, _causes(error)))
    if isinstance(error, DereflectError):
        text = error.rest(spell) if error.subject == UNNAMED else error.line(spell)
    else:
        text = fault_of(error).reason
    state = "refused" if refused else "failed"
    return row | {
        "state": state,
        "error": one_line(text)[:500],
        TRACE: trace_of(error),
        "finished": time.time(),
    }


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """What an error was raised from, and what that was."""
    while error is not None:
        error = error.__cause__
        if error is not None:
            yield error


def _read_ahead(
    readers: ThreadPoolExecutor, read: Callable[[BatchPhoto], bytes], photos: Iterable[BatchPhoto]
) -> Iterator[tuple[BatchPhoto, Future[bytes]]]:
    """Each photo with its content to come, while the next few are on their way."""
    coming: list[tuple[BatchPhoto, Future[bytes]]] = []
    for photo in photos:
        coming.append((photo, readers.submit(read, photo)))
        if len(coming) > READS_AHEAD:
            yield coming.pop(0)
    yield from coming

"""A film from beginning to end: chunk after chunk, taken up where an earlier run stopped."""

from __future__ import annotations

import json
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dereflect.errors import OVERWRITE, DereflectError, InputError, fault_of
from dereflect.images.picture import convert_depth
from dereflect.leftovers import sweep_once
from dereflect.separator import Separator
from dereflect.video.film import Film, Frame, probe, read_frames
from dereflect.video.parts import FilmParts, folder_of
from dereflect.video.steady import RADIUS, at_size, steady_changes, working_copy
from dereflect.video.writing import (
    CODECS,
    QUALITY,
    ChunkWriter,
    assemble,
    check_container,
    finished_times,
    is_settled,
)

LAYERS = ("transmission", "reflection")
CHUNK = 96
"""Frames a chunk: what a kill costs, and how far key frames may lie apart."""
FrameFault = Callable[[int, DereflectError], None]
"""Called with a frame's number and what is wrong with it."""
_HOPELESS = 50
"""Frames that fail from the first on, without one that does not, after which a run gives up."""
_STORED = np.dtype(np.uint16)


@dataclass(frozen=True)
class VideoJob:
    """What to make of a film.

    Attributes:
        source, target: files. The target's extension tells its container.
        layer: ``transmission`` or ``reflection``.
        strength: how much of the reflection to take away, as for a `Separator`: below 0, the transmission
            becomes its opposite.
        codec: a name in `CODECS`.
        crf: quality, lower is better; None for the codec's default.
        radius: frames on each side that guide one; 0 for frame by frame.
        chunk: frames a chunk.
        overwrite: replace a target that is there.
        model, options: what the separator was loaded from, to tell chunks of other models apart.
    """

    source: Path
    target: Path
    layer: str = "transmission"
    strength: float = 1.0
    codec: str = "h264"
    crf: int | None = None
    radius: int = RADIUS
    chunk: int = CHUNK
    overwrite: bool = False
    model: str = "default"
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def parts(self) -> Path:
        """Folder beside the target of chunks that are done; gone when all is."""
        return folder_of(self.target)


def convert_video(
    job: VideoJob,
    separator: Separator,
    progress: Callable[[int, int], None] | None = None,
    failed: FrameFault | None = None,
) -> Film:
    """Separate a film.

    The result has the same frames at the same times, the same rotation, colour tags and display data, and the
    very same sound with its words. Memory does not grow with the film's length. A run that was stopped is
    taken up at the last finished chunk; chunks in which a frame failed are done again.

    Args:
        job: what to do.
        separator: with which model.
        progress: called with (frames done, frames in all; 0 if not known).
        failed: told of each frame that cannot be decoded or separated, with its number; one that cannot be
            separated is shown as it was. Without, each is a warning.

    Returns:
        What the film is like.

    Raises:
        InputError: the film cannot be read or written so, no frame of it can be separated, or another run is
            at work on the target.
        MissingExtra: the ``video`` extra is not installed.
    """
    crf = QUALITY.get(job.codec, 0) if job.crf is None else job.crf
    _check(job)
    sweep_once(job.target.parent)
    parts = FilmParts(job.target, _told_apart(job, separator, crf))
    if parts.finished_earlier():
        return probe(job.source)
    _check_target(job)
    film = probe(job.source)
    with parts.taken():
        check_container(film, job.codec, crf, parts)
        chunks = _write_chunks(job, separator, film, crf, parts, progress, _Faults(film, failed))
        assemble(film, chunks, parts.whole, job.target)
        parts.publish(job.overwrite)
    return film


def _write_chunks(
    job: VideoJob,
    separator: Separator,
    film: Film,
    crf: int,
    parts: FilmParts,
    progress: Callable[[int, int], None] | None,
    faults: _Faults,
) -> list[Path]:
    """Write the chunks that are not there yet; returns all."""
    chunks: list[Path] = []
    ended = False
    while not ended and is_settled(path := parts.chunk(len(chunks))):
        chunks.append(path)
        ended = len(finished_times(path) or ()) < job.chunk  # the last one
    if ended:
        return chunks
    writer: ChunkWriter | None = None
    done = len(chunks) * job.chunk
    try:
        for frame, pixels in separated_frames(film, separator, job, done, faults):
            if writer is None:
                writer = ChunkWriter(parts.chunk(len(chunks)), film, job.codec, crf)
            writer.add(frame, pixels)
            done += 1
            if progress is not None:
                progress(done, film.frames)
            if len(writer.times) == job.chunk:
                writer.finish(faults.since_last())
                chunks.append(writer.path)
                writer = None
        faults.check()
        if writer is not None:
            writer.finish(faults.since_last())
            chunks.append(writer.path)
            writer = None
    finally:
        if writer is not None:
            writer.give_up()
    return chunks


class _Faults:
    """Counts frames that failed, and says so."""

    def __init__(self, film: Film, tell: FrameFault | None) -> None:
        self.film = film
        self._tell = tell or self._warn
        self._last: DereflectError | None = None
        self._unsaved = self._failed = self._separated = 0

    def add(self, number: int, error: Exception) -> None:
        """A frame failed."""
        self._last = fault_of(error, f"frame {number}")
        self._unsaved += 1
        self._tell(number, self._last)

    def unseparated(self, number: int, error: Exception) -> None:
        """A frame could be read, but not separated."""
        self._failed += 1
        self.add(number, error)
        if self._failed == _HOPELESS:
            self.check()

    def separated(self) -> None:
        """A frame was separated."""
        self._separated += 1

    def since_last(self) -> bool:
        """Whether a frame failed since this was last asked."""
        unsaved, self._unsaved = self._unsaved, 0
        return unsaved > 0

    def check(self) -> None:
        """Refuse to go on where every frame fails.

        Raises:
            InputError: says what happened to the last frame.
        """
        if self._last is not None and self._failed and not self._separated:
            raise InputError(self.film.path, f"no frame could be separated ({self._last.rest()})")

    def _warn(self, number: int, fault: DereflectError) -> None:
        warnings.warn(f"{self.film.path}: {fault}", stacklevel=2)


def separated_frames(
    film: Film, separator: Separator, job: VideoJob, start: int = 0, faults: _Faults | None = None
) -> Iterator[tuple[Frame, NDArray[Any]]]:
    """The frames from number `start` on, each with the pixels to write, upright and in the film's depth."""
    lead = min(job.radius, start)
    held: deque[tuple[Frame, NDArray[Any]]] = deque()
    of_reflection = job.layer == "reflection" or job.strength < 0  # which shows the reflection alone
    faults = faults or _Faults(film, None)

    def transmissions() -> Iterator[NDArray[np.float32]]:
        for frame in read_frames(film, start - lead, faults.add):
            transmission, reflection = _separated(separator, frame, faults)
            if frame.number >= start:
                wanted = reflection if of_reflection else transmission
                held.append((frame, convert_depth(wanted, _STORED)))  # half the memory of floats
            yield working_copy(np.ascontiguousarray(transmission))

    for change in steady_changes(transmissions(), job.radius, skip=lead):
        frame, stored = held.popleft()
        height, width = stored.shape[:2]
        layer = convert_depth(stored, np.dtype(np.float32))
        change = at_size(change, height, width)
        layer = layer - change if of_reflection else layer + change
        if job.layer == "reflection":
            layer = abs(job.strength) * layer
        else:
            photo = convert_depth(frame.pixels, np.dtype(np.float32))
            layer = photo + abs(job.strength) * (layer - photo)
        yield frame, convert_depth(layer, frame.pixels.dtype)


def _separated(separator: Separator, frame: Frame, faults: _Faults) -> list[NDArray[np.float32]]:
    """Transmission and reflection, (H, W, 3) each; of a frame that fails, itself and nothing."""
    try:
        layers = [np.moveaxis(layer.numpy(), 0, -1) for layer in separator.tensors(frame.pixels)]
        faults.separated()
        return layers
    except Exception as error:  # whatever it is, it is this frame's alone
        faults.unseparated(frame.number, error)
        photo = convert_depth(frame.pixels, np.dtype(np.float32))
        return [photo, np.zeros_like(photo)]


def _check(job: VideoJob) -> None:
    if not -1.0 <= job.strength <= 1.0:
        raise InputError(job.strength, "give a number from -1 to 1", option="strength")
    for name, value, known in (("codec", job.codec, CODECS), ("layer", job.layer, LAYERS)):
        if value not in known:
            raise InputError(value, f"unknown; one of {', '.join(known)}", option=name)
    if not job.target.suffix:
        raise InputError(job.target, "give it an extension, such as .mp4 or .mkv, that tells its kind")


def _check_target(job: VideoJob) -> None:
    if os.path.lexists(job.target):
        if job.target.is_dir():
            raise InputError(job.target, "is a folder; give the name of a film")
        if job.target.exists() and job.source.exists() and job.target.samefile(job.source):
            raise InputError(job.target, "is the film itself; choose another name")
        if not job.overwrite:
            raise InputError(job.target, "exists already", remedy=OVERWRITE)
    if not job.target.parent.is_dir():
        raise InputError(job.target.parent, "no such folder")


def _told_apart(job: VideoJob, separator: Separator, crf: int) -> str:
    """One line that only the very same job has."""
    try:
        state = job.source.stat()
        source = [os.fspath(job.source.resolve()), state.st_size, state.st_mtime_ns]
    except OSError:  # which `probe` will say better
        source = []
    what = {
        "source": source,
        "model": [job.model, separator.name, separator.running, separator.quality, separator.max_size],
        "options": dict(job.options),
        "tile": [separator.tile, separator.seed],
        "job": [job.layer, job.strength, job.codec, crf, job.radius, job.chunk],
    }
    return json.dumps(what, sort_keys=True)

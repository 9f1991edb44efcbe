"""A film from beginning to end: chunk after chunk, taken up where an earlier run stopped."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dereflect.errors import OVERWRITE, InputError
from dereflect.images.picture import convert_depth
from dereflect.separator import Separator
from dereflect.video.film import Film, Frame, probe, read_frames
from dereflect.video.steady import RADIUS, at_size, steady_changes, working_copy
from dereflect.video.writing import CODECS, QUALITY, ChunkWriter, assemble, finished_times

LAYERS = ("transmission", "reflection")
CHUNK = 96
"""Frames a chunk: what a kill costs, and how far key frames may lie apart."""
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
        model: what the separator was loaded from, to tell chunks of other models apart.
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

    @property
    def parts(self) -> Path:
        """Folder beside the target of chunks that are done; gone when all is."""
        return self.target.with_name(self.target.name + ".parts")


def convert_video(
    job: VideoJob, separator: Separator, progress: Callable[[int, int], None] | None = None
) -> Film:
    """Separate a film.

    The result has the same frames at the same times, the same rotation and colour tags, and the very same
    sound. Memory does not grow with the film's length. A run that was stopped is taken up at the last
    finished chunk.

    Args:
        job: what to do.
        separator: with which model.
        progress: called with (frames done, frames in all; 0 if not known).

    Returns:
        What the film is like.

    Raises:
        InputError: the film cannot be read or written so.
        MissingExtra: the ``video`` extra is not installed.
    """
    _check(job)
    film = probe(job.source)
    crf = QUALITY[job.codec] if job.crf is None else job.crf
    _prepare_parts(job, film, separator, crf)
    chunks: list[Path] = []
    while (times := finished_times(path := _chunk_path(job, len(chunks)))) is not None:
        chunks.append(path)
        if len(times) < job.chunk:  # the last one
            break
    writer: ChunkWriter | None = None
    start = len(chunks) * job.chunk
    done = start
    ended = bool(chunks) and len(finished_times(chunks[-1]) or ()) < job.chunk
    try:
        for frame, pixels in () if ended else separated_frames(film, separator, job, start):
            if writer is None:
                path = _chunk_path(job, len(chunks))
                writer = ChunkWriter(path, film, job.codec, crf)
            writer.add(frame, pixels)
            done += 1
            if progress is not None:
                progress(done, film.frames)
            if len(writer.times) == job.chunk:
                writer.finish()
                chunks.append(writer.path)
                writer = None
        if writer is not None:
            writer.finish()
            chunks.append(writer.path)
            writer = None
    finally:
        if writer is not None:
            writer.give_up()
    _join(job, film, chunks)
    return film


def _join(job: VideoJob, film: Film, chunks: list[Path]) -> None:
    """Put the chunks together at the target, and remove all parts."""
    whole = job.parts / f"whole{job.target.suffix}"
    assemble(film, chunks, whole)
    os.replace(whole, job.target)
    for file in job.parts.iterdir():
        file.unlink()
    job.parts.rmdir()


def separated_frames(
    film: Film, separator: Separator, job: VideoJob, start: int = 0
) -> Iterator[tuple[Frame, NDArray[Any]]]:
    """The frames from number `start` on, each with the pixels to write, upright and in the film's depth."""
    lead = min(job.radius, start)
    held: deque[tuple[Frame, NDArray[Any]]] = deque()
    of_reflection = job.layer == "reflection" or job.strength < 0  # which shows the reflection alone

    def transmissions() -> Iterator[NDArray[np.float32]]:
        for frame in read_frames(film, start - lead):
            both = separator.tensors(frame.pixels)
            transmission, reflection = (np.moveaxis(layer.numpy(), 0, -1) for layer in both)
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


def _check(job: VideoJob) -> None:
    if not -1.0 <= job.strength <= 1.0:
        raise InputError(job.strength, "give a number from -1 to 1", option="strength")
    for name, value, known in (("codec", job.codec, CODECS), ("layer", job.layer, LAYERS)):
        if value not in known:
            raise InputError(value, f"unknown; one of {', '.join(known)}", option=name)
    if not job.target.suffix:
        raise InputError(job.target, "give it an extension, such as .mp4 or .mkv, that tells its kind")
    if job.target.exists():
        if job.source.exists() and job.target.samefile(job.source):
            raise InputError(job.target, "is the film itself; choose another name")
        if not job.overwrite:
            raise InputError(job.target, "exists already", remedy=OVERWRITE)
    if not job.target.parent.is_dir():
        raise InputError(job.target.parent, "no such folder")


def _prepare_parts(job: VideoJob, film: Film, separator: Separator, crf: int) -> None:
    """Keep the chunks of an earlier run of the very same job; throw away others."""
    state = job.source.stat()
    what = {
        "source": [os.fspath(job.source.resolve()), state.st_size, state.st_mtime_ns],
        "model": [job.model, separator.name, separator.running, separator.quality, separator.max_size],
        "tile": [separator.tile, separator.seed],
        "job": [job.layer, job.strength, job.codec, crf, job.radius, job.chunk],
    }
    text = json.dumps(what, sort_keys=True)
    mark = job.parts / "job.json"
    if mark.is_file() and mark.read_text() == text:
        return
    job.parts.mkdir(exist_ok=True)
    for file in job.parts.iterdir():
        if file.name.startswith("chunk-") or file.name.startswith("whole") or file == mark:
            file.unlink()
    mark.write_text(text)


def _chunk_path(job: VideoJob, number: int) -> Path:
    return job.parts / f"chunk-{number:06d}.mkv"

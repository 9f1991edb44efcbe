"""Run models over data sets under a protocol: read, separate, measure, keep previews; picture by picture."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dereflect._version import __version__
from dereflect.data.layouts import DataSet
from dereflect.data.pairs import Pair, read_rgb
from dereflect.errors import InputError, first_line
from dereflect.evaluation.cost import measured_cost
from dereflect.evaluation.protocol import Perceptual, to_levels
from dereflect.evaluation.protocol import Protocol as Preset
from dereflect.evaluation.records import (
    REFLECTION,
    TRANSMISSION,
    UNTOUCHED,
    Record,
    drop_cut_line,
    read_records,
    write_record,
)
from dereflect.evaluation.resizing import from_square, resized, to_square
from dereflect.images.picture import Array

PREVIEW_SIDE = 640
RECORDS = "records.jsonl"


class System(Protocol):
    """Anything that separates one picture; the evaluation knows no more of a model than this."""

    name: str
    identity: str
    """Everything its results depend on beside the picture: source, weights, settings, seed."""
    device: str

    def separate(self, picture: Array) -> tuple[Array, Array]:
        """Take (H, W, 3) uint8 or float32 in [0, 1]; give both layers as float32 in [0, 1]."""
        ...


class Untouched:
    """The photo itself as the answer for both layers: what every model must beat."""

    name, identity, device = UNTOUCHED, "", "cpu"

    def separate(self, picture: Array) -> tuple[Array, Array]:
        """Return the picture twice."""
        floats = picture.astype(np.float32) / np.float32(255) if picture.dtype == np.uint8 else picture
        return floats, floats


@dataclass(frozen=True)
class EvaluationJob:
    """What to run and where to keep it."""

    systems: Iterable[System]
    """Taken one after the other, so a generator holds no more than one model in memory."""
    data: Sequence[DataSet]
    protocol: Preset
    folder: Path
    perceptual: Perceptual
    workers: int = 1
    """Threads that measure and write previews while the model works; the numbers do not depend on it."""


@dataclass(frozen=True)
class Loaded:
    """A pair in memory, (H, W, 3) uint8 each, sized as the protocol says."""

    photo: NDArray[np.uint8]
    truths: dict[str, NDArray[np.uint8]]


def run(job: EvaluationJob, progress: Callable[[int, int, str], None] | None = None) -> list[Record]:
    """Measure the untouched input and every system on every pair.

    Records of an earlier run into the same folder are used again where nothing they depend on has changed.

    Args:
        progress: called as ``progress(done, pictures of this system, what comes next)``.

    Returns:
        One record for each model and picture, in the order of `job`.

    Raises:
        InputError: a picture cannot be read or measured; names it.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    store = job.folder / RECORDS
    drop_cut_line(store)
    known = read_records(store)
    tasks = [(data, pair) for data in job.data for pair in data.pairs]
    digests = {(data.name, pair.name): _digest(pair) for data, pair in tasks}
    pending: list[Record | Future[Record]] = []
    with ThreadPoolExecutor(max(1, job.workers)) as pool:
        for system in chain([Untouched()], job.systems):
            for done, (data, pair) in enumerate(tasks):
                if progress is not None:
                    progress(done, len(tasks), f"{system.name}: {data.name} {pair.name}")
                key = _key(job, system, data, digests[data.name, pair.name])
                record = known.get(key)
                if record is not None and all(
                    (job.folder / path).is_file() for path in record.pictures.values()
                ):
                    pending.append(record)
                else:
                    _let_few_wait(pending, 2 * job.workers)
                    pending.append(_one(job, system, data, pair, key, pool))
        return [item if isinstance(item, Record) else item.result() for item in pending]


def _let_few_wait(pending: list[Record | Future[Record]], few: int) -> None:
    """Wait until at most `few` pictures are held in memory for being measured."""
    waiting = [item for item in pending[-2 * few :] if isinstance(item, Future) and not item.done()]
    for item in waiting[: len(waiting) - few]:
        item.result()


def _one(
    job: EvaluationJob, system: System, data: DataSet, pair: Pair, key: str, pool: ThreadPoolExecutor
) -> Record | Future[Record]:
    """Separate now, measure now or in the pool. Only the separation is timed."""
    loaded = load_pair(pair, job.protocol, data.cut_to_common)
    height, width = loaded.photo.shape[:2]
    with measured_cost(system.device) as cost:
        layers = separate_as(job.protocol, system, loaded.photo)
    own = isinstance(system, Untouched)

    def finish() -> Record:
        try:
            measured = {
                layer: job.protocol.measure(layers[layer], truth, job.perceptual)
                for layer, truth in loaded.truths.items()
            }
        except InputError as error:
            raise error.about(pair.blended) from error
        record = Record(
            key=key,
            model=system.name,
            data=data.name,
            picture=pair.name,
            width=width,
            height=height,
            layers=measured,
            pictures=_previews(job.folder, system.name, data.name, pair.name, loaded, layers),
            device="" if own else system.device,
            seconds=None if own else cost.seconds,
            peak_bytes=None if own or job.workers > 1 else cost.peak_bytes,
        )
        write_record(job.folder / RECORDS, record)
        return record

    return pool.submit(finish) if job.workers > 1 else finish()


def load_pair(pair: Pair, protocol: Preset, cut_to_common: bool = False) -> Loaded:
    """Read a pair and bring its pictures to the size that the protocol compares at."""
    pictures = {role: read_rgb(path) for role, path in pair.paths().items()}
    if cut_to_common:
        height, width = (min(picture.shape[axis] for picture in pictures.values()) for axis in (0, 1))
        pictures = {role: picture[:height, :width] for role, picture in pictures.items()}
    shapes = {picture.shape for picture in pictures.values()}
    if len(shapes) > 1:
        raise InputError(pair.transmission, f"its size is not that of {pair.blended}")
    height, width = pictures["transmission"].shape[:2]
    size = protocol.aligned_size(width, height)
    if size != (width, height):
        pictures = {role: resized(picture, size) for role, picture in pictures.items()}
    return Loaded(
        pictures["blended"],
        {layer: pictures[layer] for layer in (TRANSMISSION, REFLECTION) if layer in pictures},
    )


def separate_as(protocol: Preset, system: System, photo: NDArray[np.uint8]) -> dict[str, Array]:
    """Separate a photo at the size that the protocol prescribes; layers come back at the photo's size."""
    if protocol.square is None or isinstance(system, Untouched):
        return dict(zip((TRANSMISSION, REFLECTION), system.separate(photo), strict=True))
    height, width = photo.shape[:2]
    layers = system.separate(to_square(photo, protocol.square))
    back = (from_square(layer, height, width) for layer in layers)
    return dict(zip((TRANSMISSION, REFLECTION), back, strict=True))


def _previews(
    folder: Path, model: str, data: str, picture: str, loaded: Loaded, layers: dict[str, Array]
) -> dict[str, str]:
    """Write small JPEGs of the layers, or for the untouched input of photo and truths.

    Returns:
        Their paths relative to the report's folder, by role.
    """
    place = Path("pictures") / _file_name(data) / _file_name(picture)
    (folder / place).mkdir(parents=True, exist_ok=True)
    own = model == UNTOUCHED
    truths = {f"true {layer}": truth for layer, truth in loaded.truths.items()}
    shown: dict[str, Array] = {"input": loaded.photo, **truths} if own else layers
    paths = {}
    for role, content in shown.items():
        path = place / f"{_file_name(role if own else f'{model} {role}')}.jpg"
        image = Image.fromarray(to_levels(content, "rounded"))
        image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.LANCZOS)
        image.save(folder / path, quality=88)
        paths[role] = path.as_posix()
    return paths


def _file_name(text: str) -> str:
    """A name that every file system takes and that stays unlike other names."""
    plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in text).strip(".")[:80]
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _digest(pair: Pair) -> str:
    digest = hashlib.sha256()
    for role, path in pair.paths().items():
        try:
            digest.update(role.encode() + hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            raise InputError(path, f"cannot be read ({first_line(error)})") from error
    return digest.hexdigest()


def _key(job: EvaluationJob, system: System, data: DataSet, digest: str) -> str:
    parts = [
        __version__,
        job.protocol.name,
        [column.name for column in job.protocol.columns],
        sorted(job.perceptual),
        system.name,
        system.identity,
        data.name,
        digest,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

"""What the service does, apart from HTTP: models, the two queues of jobs, and what is kept for the page."""

from __future__ import annotations

import io
import json
import logging
import secrets
import threading
import time
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import Any

from dereflect import images
from dereflect.catalog import CARDS
from dereflect.errors import DereflectError
from dereflect.images.writing import target_format
from dereflect.inference.plan import Quality
from dereflect.inference.prepare import Prepared
from dereflect.methods.contract import Progress
from dereflect.separation import Separation
from dereflect.separator import Separator
from dereflect.web.jobs import JobQueue, QueuedJob, QueueFull, TimedOut
from dereflect.web.metrics import Metrics
from dereflect.web.previews import LAYERS, preview, shown
from dereflect.web.settings import Limits
from dereflect.web.uploads import Upload

log = logging.getLogger("dereflect.web")
FINISHERS = 2
"""Threads that blend and encode finished separations for the page; they wait for no network."""


@dataclass(frozen=True)
class RenderOptions:
    """How a separation is to be written."""

    layers: str = "transmission"
    format: str = "png"
    strength: float = 1.0
    mask: bytes | None = None
    strokes: bytes | None = None
    metadata: bool = True

    @property
    def size(self) -> int:
        """Bytes of what was drawn."""
        return len(self.mask or b"") + len(self.strokes or b"")


@dataclass(frozen=True)
class Answer:
    """A file to send back."""

    content: bytes
    name: str
    facts: dict[str, Any]


@dataclass(frozen=True)
class StoredSeparation:
    """A separation that the page may still ask for."""

    analysis: Prepared
    separator: Separator
    previews: dict[str, bytes]
    facts: dict[str, Any]

    @property
    def memory(self) -> int:
        """Bytes that it holds, about."""
        return self.analysis.memory + sum(len(content) for content in self.previews.values())


@dataclass
class StoredJob:
    """A job of the page."""

    job: QueuedJob
    stem: str
    suffix: str
    format: str
    used: float = field(default_factory=time.monotonic)

    @property
    def finished(self) -> StoredSeparation | None:
        """Its result, once it is done."""
        return self.job.future.result() if self.job.state == "done" else None


class Service:
    """Runs separations for many people on one machine, within limits.

    Args:
        separators: what may be asked for, by name; the first is taken where nothing is said.
        limits: bounds of everything.
    """

    def __init__(self, separators: Mapping[str, Separator], limits: Limits) -> None:
        self.limits = limits
        self.metrics = Metrics()
        self.default = next(iter(separators))
        self._separators = dict(separators)
        self.names = tuple(separators)
        self.queue = JobQueue("separate", limits.jobs, limits.queue, limits.waiting_bytes, limits.seconds)
        self.finishing = JobQueue("finish", FINISHERS, limits.queue, limits.waiting_bytes, limits.seconds)
        self._stored: OrderedDict[str, StoredJob] = OrderedDict()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Stop working."""
        self.queue.close()
        self.finishing.close()

    def models(self) -> list[dict[str, Any]]:
        """What may be asked for, in words."""
        listed = []
        for name in self.names:
            card = CARDS.get(name)
            words = dict.fromkeys(("plain", "paper", "licence", "speed", "quality"), "")
            words |= {"title": name, "summary": "a model of your own"}
            if card is not None:
                words = {key: str(getattr(card, key)) for key in words}
            running = self._separators[name].running
            listed.append({"name": name, "default": name == self.default, **words, "running": running})
        return listed

    def separate(self, photo: Upload, model: str, quality: Quality, render: RenderOptions) -> QueuedJob:
        """Put a separation into the queue; the job's result is an `Answer`.

        Raises:
            QueueFull: no room to wait.
        """
        separator = self._separators[model]

        def work(progress: Progress) -> Answer:
            analysis = self._analyse(separator, photo, quality, progress)
            return self._write(separator, analysis, photo, render)

        size = len(photo.content) + render.size
        return self._submit(work, photo, model, size)

    def open(self, photo: Upload, model: str, quality: Quality) -> str:
        """Put a separation into the queue and keep what comes of it for the page; returns its id.

        Raises:
            QueueFull: no room to wait.
        """
        separator = self._separators[model]

        def work(progress: Progress) -> StoredSeparation:
            analysis = self._analyse(separator, photo, quality, progress)
            result = separator.develop(analysis)
            shown = {layer: preview(result.pictures[name]) for layer, name in LAYERS.items()}
            return StoredSeparation(analysis, separator, shown, describe(result))

        job = self._submit(work, photo, model, len(photo.content))
        stored = StoredJob(job, photo.stem, photo.suffix, photo.format)
        identity = secrets.token_urlsafe(12)
        with self._lock:
            self._stored[identity] = stored
        self.sweep()
        return identity

    def find(self, identity: str) -> StoredJob | None:
        """A kept job, if it is still there; being asked for keeps it longer."""
        self.sweep()
        with self._lock:
            stored = self._stored.get(identity)
            if stored is not None:
                stored.used = time.monotonic()
                self._stored.move_to_end(identity)
            return stored

    def forget(self, identity: str) -> bool:
        """Drop a kept job, and stop it if it has not finished; False where it is not there."""
        with self._lock:
            stored = self._stored.pop(identity, None)
        if stored is not None:
            stored.job.cancel()
        return stored is not None

    def finish(self, stored: StoredJob, finished: StoredSeparation, render: RenderOptions) -> QueuedJob:
        """Write a kept separation; the job's result is an `Answer`, the same as `separate` gives.

        Raises:
            QueueFull: no room to wait.
        """
        photo = Upload(b"", stored.stem, stored.suffix, stored.format)

        def work(progress: Progress) -> Answer:
            try:
                return self._write(finished.separator, finished.analysis, photo, render)
            except DereflectError:
                raise
            except Exception:
                log.exception("%s: writing it failed", photo.stem + photo.suffix)
                raise

        return self.finishing.submit(work, render.size)

    def correct(self, finished: StoredSeparation, layer: str, strokes: bytes) -> QueuedJob:
        """A small copy of a layer as strokes have it; the job's result is a JPEG.

        Raises:
            QueueFull: no room to wait.
        """

        def work(progress: Progress) -> bytes:
            result = finished.separator.develop(shown(finished.analysis), strokes=strokes)
            return preview(result.pictures[LAYERS[layer]])

        return self.finishing.submit(work, len(strokes))

    def sweep(self) -> None:
        """Forget what is old, and the oldest where there is too much."""
        with self._lock:
            now, memory, count = time.monotonic(), 0, 0
            for identity, stored in reversed(list(self._stored.items())):  # the latest used first
                if not stored.job.future.done():
                    if now - stored.used > self.limits.kept_seconds:  # nobody has asked after it
                        stored.job.cancel()
                        del self._stored[identity]
                    continue
                finished = stored.finished
                memory += 0 if finished is None else finished.memory
                count += 1
                newest = count == 1
                too_much = count > self.limits.kept or (memory > self.limits.kept_bytes and not newest)
                if too_much or now - stored.used > self.limits.kept_seconds:
                    del self._stored[identity]

    def gauges(self) -> dict[str, tuple[str, float]]:
        """Values of this moment, for the metrics."""
        waiting, running = self.queue.counts()
        with self._lock:
            kept = len(self._stored)
        return {
            "jobs_waiting": ("Separations in line.", waiting),
            "jobs_running": ("Separations at work.", running),
            "jobs_kept": ("Jobs that the page may still ask for.", kept),
        }

    def _submit(self, work: Any, photo: Upload, model: str, size: int) -> QueuedJob:
        def counted(progress: Progress) -> Any:
            started = time.perf_counter()
            try:
                result = work(progress)
            except TimedOut:
                self.metrics.count_job(model, "timed_out")
                raise
            except CancelledError:
                self.metrics.count_job(model, "cancelled")
                raise
            except DereflectError:
                self.metrics.count_job(model, "refused")
                raise
            except Exception:
                self.metrics.count_job(model, "failed")
                log.exception("%s: a separation with %s failed", photo.stem + photo.suffix, model)
                raise
            self.metrics.count_job(model, "done", time.perf_counter() - started)
            return result

        try:
            return self.queue.submit(counted, size)
        except QueueFull:
            self.metrics.count_job(model, "turned_away")
            raise

    def _analyse(self, separator: Separator, photo: Upload, quality: Quality, progress: Progress) -> Prepared:
        picture = images.read(photo.content, self.limits.pixels)
        return separator.analyse(picture, quality=quality, progress=progress)

    def _write(
        self, separator: Separator, analysis: Prepared, photo: Upload, render: RenderOptions
    ) -> Answer:
        result = separator.develop(
            analysis, strength=render.strength, mask=render.mask, strokes=render.strokes
        )
        format_name = target_format(photo.format, render.format)
        facts = describe(result)
        if lost := images.loss(result.pictures["transmission"], format_name, render.metadata):
            facts["notes"].append(lost)
        if render.layers != "both":
            content = images.encode(result.pictures[render.layers], format_name, render.metadata)
            return Answer(content, photo.name_of(render.layers, render.format), facts)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # pictures are compressed already
            for layer in ("transmission", "reflection"):
                content = images.encode(result.pictures[layer], format_name, render.metadata)
                archive.writestr(_entry(photo.name_of(layer, render.format)), content)
            archive.writestr(_entry("result.json"), json.dumps(facts, indent=2) + "\n")
        return Answer(buffer.getvalue(), f"{photo.stem}_layers.zip", facts)


def describe(result: Separation) -> dict[str, Any]:
    """Facts of a separation, for JSON."""
    blended = result.pictures["blended"]
    return {
        "width": blended.width,
        "height": blended.height,
        "format": blended.format,
        "model": result.model,
        "version": result.version,
        "device": result.device,
        "how": result.how,
        "seconds": round(result.seconds, 3),
        "residual": round(result.residual, 5),
        "reflection_found": result.reflection_found,
        "notes": list(result.notes),
    }


def _entry(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name)  # with the fixed date of 1980: same input, same bytes

"""What a batch is asked to do, on which machines, and what came of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dereflect.errors import Spell
from dereflect.escapes import escaped
from dereflect.images import DEFAULT_MAX_PIXELS
from dereflect.images.raw_pairs import Chosen, TakeRaw

PhotoState = Literal["done", "refused", "failed"]
"""``refused``: the picture is at fault, and will be next time too. ``failed``: anything else; tried again."""

ATTEMPTS = 3
"""A photo that takes its worker down with it this many times is given up."""
LARGEST_FILE = 1 << 30
"""Bytes of a file above which it is refused unread: no photo is that large, and workers hold it whole."""


HERE = "none"
"""The address that means: no cluster, in this process."""


@dataclass(frozen=True)
class Fleet:
    """Which machines do it, and how they are shared out.

    Attributes:
        address: ``none`` for this process alone; ``auto`` for the Ray cluster at ``RAY_ADDRESS``, or that is
            running here, or else one of this machine's own; or a cluster's address.
        workers: number of workers; as many as there is room for, if not given.
        cpus: processor cores a worker.
        gpus: graphics processors a worker; 0.25 puts four workers on each.
    """

    address: str = HERE
    workers: int | None = None
    cpus: float = 1.0
    gpus: float = 0.0


@dataclass(frozen=True)
class BatchJob:
    """A batch: from where, to where, with which model and settings.

    Attributes:
        source: folder or address of the photos.
        destination: folder or address of the outputs; the source's tree is repeated in it.
        model: as for `dereflect.load`.
        options: free settings of the method.
        settings: of the `Separator`: ``device``, ``dtype``, ``tile``, ``max_size``, ``quality``, ``seed``.
        strength: how much of the reflection to take away.
        layers: ``both``, ``transmission`` or ``reflection``.
        format: ``keep``, or a name in `dereflect.images.FORMATS`.
        metadata: keep EXIF, profile, XMP and resolution.
        max_pixels: larger pictures are refused.
        raw: which file to take of a photo that a folder holds raw and as JPEG, see
            `dereflect.images.raw_pairs.choose`.
        raw_space: colour space in which raw files are developed.
        group: most photos in one task of a worker.
        group_bytes: most bytes of photo files in one task; a task has at least one photo.
        batch_size: photos of one size that share a run of the network. 1 gives the same bytes as single runs.
        shard: (i, n) does only every n-th photo from the i-th on, counted from 0.
        retry_refused: try again what was refused.
        spell: how the errors in the manifest write options; see `dereflect.errors`.
    """

    source: str
    destination: str
    model: str = "default"
    options: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    strength: float = 1.0
    layers: str = "both"
    format: str = "keep"
    metadata: bool = True
    max_pixels: int = DEFAULT_MAX_PIXELS
    raw: TakeRaw = "prefer"
    raw_space: str = "srgb"
    group: int = 16
    group_bytes: int = 64 << 20
    batch_size: int = 1
    shard: tuple[int, int] = (0, 1)
    retry_refused: bool = False
    spell: Spell = str

    @property
    def fingerprint(self) -> str:
        """What the outputs depend on, the photo apart: another model or setting does everything anew."""
        what = {
            "model": self.model,
            "options": dict(self.options),
            "settings": {key: value for key, value in self.settings.items() if key != "device"},
            "strength": self.strength,
            "layers": self.layers,
            "format": self.format,
            "metadata": self.metadata,
        }
        if self.raw_space != "srgb":  # which is as it was when raw files were not read
            what["raw_space"] = self.raw_space
        text = json.dumps(what, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass
class Summary:
    """How many photos a run of a batch found, separated, refused and so on."""

    found: int = 0
    """Photos in the source (of this shard)."""
    kept: int = 0
    """Photos that an earlier run has settled."""
    done: int = 0
    untouched: int = 0
    """Photos, of those done, in which no reflection was found."""
    refused: int = 0
    failed: int = 0
    noted: int = 0
    """Photos of which the manifest notes something."""
    errors: list[tuple[str, str]] = field(default_factory=list)
    """(path, reason) of the first refusals and failures; the manifest has them all."""
    folders: list[tuple[str, str]] = field(default_factory=list)
    """(path, reason) of folders that could not be read."""
    own_outputs: int = 0
    """Pictures skipped because a run has written them beside their photo."""
    raw: Chosen = field(default_factory=Chosen)
    """How many files were left out for raw files, or as such."""
    seconds: float = 0.0

    def note_folder(self, path: str, reason: str) -> None:
        """A folder cannot be read; the next run tries again."""
        self.folders.append((escaped(path), reason))

    def count(self, row: Mapping[str, Any]) -> None:
        """Add one row of the manifest."""
        state: PhotoState = row["state"]
        setattr(self, state, getattr(self, state) + 1)
        self.untouched += state == "done" and row.get("reflection_found") is False
        self.noted += bool(row.get("notes"))
        if state != "done" and len(self.errors) < 20:
            self.errors.append((row["path"], row["error"]))

"""Reading a film: frames upright in RGB, and everything about it that must come out the same."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dereflect.errors import InputError, MissingExtra, first_line

UNSPECIFIED = 2
"""FFmpeg's number for colour tags that say nothing."""
_HIGH_DEFINITION = 720


def import_av() -> Any:
    """PyAV, or the error that says how to install it."""
    try:
        import av
    except ImportError as error:
        raise MissingExtra("av", "video", "dereflect video") from error
    return av


class Frame(NamedTuple):
    """One frame: its number, its time stamp in units of the film's time base, and its pixels, upright."""

    number: int
    time: int
    pixels: NDArray[Any]
    """(H, W, 3), uint8, or uint16 where the film has more than 8 bits."""


@dataclass(frozen=True)
class Film:
    """What must come out as it went in.

    Attributes:
        path: the file.
        width, height: as stored, before rotation.
        time_base: unit of time stamps in seconds.
        rate: average frames a second.
        frames: number of frames as far as the file tells, 0 if it does not.
        pixel_format: FFmpeg's name.
        matrix: FFmpeg's numbers of the colour tags: matrix, range, primaries, transfer.
        aspect: width of a pixel relative to its height; None where not told.
        display: the nine numbers of the display matrix (rotation and mirroring); None where there is none.
        turns: quarter turns counter-clockwise that bring a frame upright.
        sounds: number of sound tracks.
    """

    path: Path
    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    frames: int
    pixel_format: str
    matrix: int
    range: int
    primaries: int
    transfer: int
    aspect: Fraction | None
    display: tuple[int, ...] | None
    turns: int
    sounds: int

    @property
    def deep(self) -> bool:
        """Whether samples have more than 8 bits."""
        av = import_av()
        return max(part.bits for part in av.VideoFormat(self.pixel_format, 16, 16).components) > 8

    @property
    def working_matrix(self) -> int:
        """The matrix to convert with: what is tagged, or what players assume where nothing is."""
        if self.matrix not in (UNSPECIFIED, 0):
            return self.matrix
        return 1 if self.height >= _HIGH_DEFINITION else 6  # BT.709, BT.601


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """An input container of PyAV.

    Raises:
        InputError: not there, or no film.
    """
    av = import_av()
    if path.is_dir():
        raise InputError(path, "is a folder, not a film")
    try:
        container = av.open(os.fspath(path))
    except FileNotFoundError as error:
        raise InputError(path, "no such file") from error
    except (OSError, ValueError) as error:
        raise InputError(path, f"is not a film that can be read ({first_line(error)})") from error
    try:
        if not container.streams.video:
            raise InputError(path, "has no picture track")
        yield container
    finally:
        container.close()


def probe(path: Path) -> Film:
    """What a film is like; decodes its first frame.

    Raises:
        InputError: as `opened`, or nothing in it can be decoded.
    """
    av = import_av()
    with opened(path) as container:
        stream = container.streams.video[0]
        try:
            first = next(container.decode(stream))
        except (av.FFmpegError, StopIteration) as error:
            raise InputError(path, f"no frame can be decoded ({first_line(error)})") from error
        display = None
        for data in first.side_data:
            if data.type.name == "DISPLAYMATRIX":
                display = struct.unpack("=9i", bytes(data))
        if first.rotation % 90:
            raise InputError(path, f"is turned by {first.rotation} degrees; only quarter turns can be done")
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        return Film(
            path=path,
            width=first.width,
            height=first.height,
            time_base=stream.time_base,
            rate=rate,
            frames=stream.frames or int((stream.duration or 0) * stream.time_base * rate),
            pixel_format=first.format.name,
            matrix=int(first.colorspace),
            range=int(first.color_range),
            primaries=int(first.color_primaries),
            transfer=int(first.color_trc),
            aspect=stream.sample_aspect_ratio,
            display=display,
            turns=(first.rotation // 90) % 4,
            sounds=len(container.streams.audio),
        )


def read_frames(film: Film, start: int = 0) -> Iterator[Frame]:
    """The frames from number `start` on; those before are decoded and passed over, which is exact.

    Raises:
        InputError: the film is damaged, or changes its size within.
    """
    av = import_av()
    layout = "rgb48le" if film.deep else "rgb24"
    last: int | None = None
    with opened(film.path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        try:
            for index, frame in enumerate(container.decode(stream)):
                time = frame.pts
                if time is None or (last is not None and time <= last):  # a file without usable stamps
                    time = 0 if last is None else last + max(1, round(1 / (film.rate * film.time_base)))
                last = time
                if index < start:
                    continue
                if (frame.width, frame.height) != (film.width, film.height):
                    raise InputError(
                        film.path, f"changes its size at frame {index}; cut it there and do the parts"
                    )
                pixels = frame.reformat(
                    format=layout,
                    src_colorspace=film.working_matrix,
                    dst_colorspace=film.working_matrix,
                    interpolation="BICUBIC",
                ).to_ndarray()
                yield Frame(index, time, np.ascontiguousarray(np.rot90(pixels, film.turns)))
        except av.FFmpegError as error:
            raise InputError(film.path, f"damaged after frame {last} ({first_line(error)})") from error

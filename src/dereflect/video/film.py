"""Reading a film: frames upright in RGB, and everything about it that must come out the same."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Callable, Iterator
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
        mastering: the display that it was graded on: x and y of red, green, blue and white, and the least and
            most luminance in candela a square metre; None where not told.
        light: most light of a pixel and most mean light of a frame, in candela a square metre; None where not
            told.
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
    mastering: tuple[Fraction, ...] | None = None
    light: tuple[int, int] | None = None

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


def address(path: Path) -> str:
    """A file as FFmpeg takes it: a name with a colon would be an address of another kind to it."""
    return f"file:{os.fspath(path)}"


def said(error: Exception) -> str:
    """What FFmpeg or the system says of a fault, without number and address."""
    return str(getattr(error, "strerror", None) or first_line(error))


@contextlib.contextmanager
def written(path: Path) -> Iterator[None]:
    """Make faults of FFmpeg in writing a file one line that names it.

    Raises:
        InputError: it cannot be written.
    """
    try:
        yield
    except (import_av().FFmpegError, OSError, ValueError) as error:
        raise InputError(path, f"cannot be written ({said(error)})") from error


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
        container = av.open(address(path))
    except FileNotFoundError as error:
        raise InputError(path, "no such file") from error
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(path, f"is not a film that can be read ({said(error)})") from error
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
            raise InputError(path, f"no frame can be decoded ({said(error)})") from error
        told = {data.type.name: bytes(data) for data in first.side_data}
        display = struct.unpack("=9i", told["DISPLAYMATRIX"]) if "DISPLAYMATRIX" in told else None
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
            mastering=_mastering(told.get("MASTERING_DISPLAY_METADATA", b"")),
            light=_light(told.get("CONTENT_LIGHT_LEVEL", b"")),
        )


def _mastering(data: bytes) -> tuple[Fraction, ...] | None:
    """FFmpeg's structure of a mastering display: ten fractions, and whether it has colours and luminance."""
    if len(data) < 88:
        return None
    numbers = struct.unpack("=22i", data[:88])
    if not (numbers[20] and numbers[21] and all(numbers[1:20:2])):
        return None
    return tuple(Fraction(numbers[index], numbers[index + 1]) for index in range(0, 20, 2))


def _light(data: bytes) -> tuple[int, int] | None:
    if len(data) < 8:
        return None
    most, mean = struct.unpack("=2I", data[:8])
    return most, mean


def _decoded(container: Any, stream: Any, damaged: Callable[[int, Exception], None] | None) -> Iterator[Any]:
    av = import_av()
    number = 0
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.EOFError:
            return
        except av.FFmpegError as error:
            if damaged is None:
                raise
            damaged(number, error)
            continue
        for frame in frames:
            yield frame
            number += 1


def read_frames(
    film: Film, start: int = 0, damaged: Callable[[int, Exception], None] | None = None
) -> Iterator[Frame]:
    """The frames from number `start` on; those before are decoded and skipped, which is exact.

    Args:
        film: to read.
        start: number of the first frame wanted.
        damaged: told of data that cannot be decoded, with the number of the frame that it stands before; the
            frames after it come all the same.

    Raises:
        InputError: the film is damaged (without `damaged`), ends too early, or changes its size within.
    """
    av = import_av()
    layout = "rgb48le" if film.deep else "rgb24"
    last: int | None = None
    index = -1
    with opened(film.path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        try:
            for index, frame in enumerate(_decoded(container, stream, damaged)):
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
            where = "after frame " + str(index) if index >= 0 else "at its beginning"
            raise InputError(film.path, f"damaged {where} ({said(error)})") from error

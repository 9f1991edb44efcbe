"""Writing a film in chunks, and putting the chunks and the sound together without touching either."""

from __future__ import annotations

import contextlib
import json
import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dereflect.errors import InputError, first_line
from dereflect.files import write_text
from dereflect.video.film import UNSPECIFIED, Film, Frame, import_av, opened

CODECS = {"h264": "libx264", "hevc": "libx265", "av1": "libsvtav1", "vp9": "libvpx-vp9"}
"""Names of the option ``codec`` to FFmpeg's encoders."""
QUALITY = {"h264": 16, "hevc": 18, "av1": 22, "vp9": 20}
"""Default of the option ``crf``: differences from the separated frames are hard to see."""


class ChunkWriter:
    """Encodes one chunk into a file of its own, from a key frame on. It counts when `finish` has returned.

    Frames are stored in the order in which they are shown (no B frames): so time stamps can be copied as they
    are, at the price of about a tenth more bytes.
    """

    def __init__(self, path: Path, film: Film, codec: str, crf: int) -> None:
        av = import_av()
        self.path = path
        self.film = film
        self.times: list[int] = []
        self._container = av.open(os.fspath(path), "w", format="matroska")
        options = {"crf": str(crf)}
        if codec == "hevc":
            options["x265-params"] = "bframes=0:log-level=error"
        if codec == "vp9":
            options |= {"b": "0", "row-mt": "1"}
        stream = self._container.add_stream(CODECS[codec], rate=film.rate, options=options)
        stream.width, stream.height = film.width, film.height
        stream.pix_fmt = self.pixel_format = _pixel_format(stream.codec_context.codec, film)
        if film.aspect:
            stream.sample_aspect_ratio = film.aspect
        context = stream.codec_context
        context.time_base = film.time_base
        context.max_b_frames = 0
        context.color_range = film.range
        context.colorspace = film.matrix if film.matrix else UNSPECIFIED
        context.color_primaries = film.primaries
        context.color_trc = film.transfer
        self._stream = stream

    def add(self, frame: Frame, pixels: NDArray[Any]) -> None:
        """Encode pixels, upright as they came from `read_frames`, in place of a frame's own."""
        av = import_av()
        stored = np.ascontiguousarray(np.rot90(pixels, -self.film.turns))
        rgb = av.VideoFrame.from_ndarray(stored, format="rgb48le" if stored.dtype == np.uint16 else "rgb24")
        picture = rgb.reformat(
            format=self.pixel_format,
            src_colorspace=self.film.working_matrix,
            dst_colorspace=self.film.working_matrix,
            dst_color_range=self.film.range or 1,
            interpolation="BICUBIC",
        )
        picture.pts = frame.time
        picture.time_base = self.film.time_base
        self.times.append(frame.time)
        self._container.mux(self._stream.encode(picture))

    def finish(self) -> None:
        """Close the file and write the time stamps beside it, in one step: now the chunk counts."""
        self._container.mux(self._stream.encode())
        self._container.close()
        write_text(json.dumps(self.times), self.path.with_suffix(".json"))

    def give_up(self) -> None:
        """Close the file; the chunk does not count."""
        with contextlib.suppress(Exception):
            self._container.close()


def finished_times(path: Path) -> list[int] | None:
    """The time stamps of a chunk that counts, else None."""
    try:
        times: list[int] = json.loads(path.with_suffix(".json").read_text())
    except (OSError, ValueError):
        return None
    return times if path.is_file() else None


def assemble(film: Film, chunks: list[Path], target: Path) -> None:
    """Put chunks and the sound of the original into one file; packets are copied, not encoded again.

    Args:
        film: the original.
        chunks: in order, all finished.
        target: what to write; its extension tells the container.

    Raises:
        InputError: the container cannot hold the codec or a sound track.
    """
    av = import_av()
    try:
        with opened(film.path) as original, av.open(os.fspath(target), "w") as output:
            with av.open(os.fspath(chunks[0])) as first:
                picture = output.add_stream_from_template(first.streams.video[0])
            picture.time_base = film.time_base
            if picture.codec_context.name == "hevc" and target.suffix.lower() in (".mp4", ".mov", ".m4v"):
                picture.codec_context.codec_tag = "hvc1"  # the tag that Apple's players ask for
            if film.display:
                picture.set_display_matrix(film.display)
            sounds = {
                stream.index: output.add_stream_from_template(stream) for stream in original.streams.audio
            }
            for key, value in original.metadata.items():
                output.metadata.setdefault(key, value)
            waiting = _sound_packets(original, sounds) if sounds else iter(())
            sound = next(waiting, None)
            for packet, seconds in _picture_packets(film, chunks):
                while sound is not None and sound[1] <= seconds:
                    output.mux_one(sound[0])
                    sound = next(waiting, None)
                packet.stream = picture
                output.mux_one(packet)
            while sound is not None:
                output.mux_one(sound[0])
                sound = next(waiting, None)
    except (av.FFmpegError, ValueError) as error:
        reason = (
            f"this kind of file cannot hold the film or its sound ({first_line(error)}); try .mkv or .mp4"
        )
        raise InputError(target.name, reason) from error


def _picture_packets(film: Film, chunks: list[Path]) -> Iterator[tuple[Any, float]]:
    """Packets with the original's time stamps, and their time in seconds."""
    av = import_av()
    times = array("q", (time for path in chunks for time in finished_times(path) or ()))
    times.append(times[-1] + round(1 / (film.rate * film.time_base)))  # the end of the last frame
    index = 0
    for path in chunks:
        with av.open(os.fspath(path)) as container:
            for packet in container.demux(container.streams.video[0]):
                if packet.size == 0:  # the end
                    continue
                packet.pts = packet.dts = times[index]
                packet.duration = times[index + 1] - times[index]
                packet.time_base = film.time_base
                yield packet, float(times[index] * film.time_base)
                index += 1


def _sound_packets(original: Any, sounds: dict[int, Any]) -> Iterator[tuple[Any, float]]:
    for packet in original.demux(original.streams.audio):
        if packet.dts is None:
            continue
        seconds = float(packet.dts * packet.time_base)
        packet.stream = sounds[packet.stream.index]
        yield packet, seconds


def _pixel_format(codec: Any, film: Film) -> str:
    """The film's own pixel format where the encoder knows it, else the nearest that it knows."""
    known = {layout.name for layout in codec.video_formats or ()}
    odd = film.width % 2 or film.height % 2
    depth = "10le" if film.deep else ""
    own = film.pixel_format.replace("yuvj", "yuv")
    wishes = [own, f"yuv420p{depth}", f"yuv444p{depth}", "yuv420p", "yuv444p"]
    for wish in wishes:
        if wish in known and not (odd and "420" in wish):
            return wish
    return "yuv420p"

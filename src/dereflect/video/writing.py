"""Writing a film in chunks, and putting the chunks and the sound together without touching either."""

from __future__ import annotations

import contextlib
import errno
import json
import re
from array import array
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dereflect.devices import has_avx512
from dereflect.errors import InputError
from dereflect.files import write_text
from dereflect.video.film import (
    UNSPECIFIED,
    Film,
    Frame,
    address,
    import_av,
    opened,
    read_frames,
    said,
    written,
)
from dereflect.video.parts import FilmParts

CODECS = {"h264": "libx264", "hevc": "libx265", "av1": "libsvtav1", "vp9": "libvpx-vp9"}
"""Names of the option ``codec`` to FFmpeg's encoders."""
QUALITY = {"h264": 16, "hevc": 18, "av1": 22, "vp9": 20}
"""Default of the option ``crf``: differences from the separated frames are hard to see."""

_REPEATABLE = "asm=AVX2,FMA3,BMI2,LZCNT"
"""Instructions that x264 may use on processors with AVX-512.

Its code for AVX-512 (of the macroblock tree) does not always give the same: of some thousand small chunks one
came out other than when it was done again, by up to six steps of 255. Without it, all have the same bytes.
"""

_FAULTS_OF_A_DISK = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EACCES, errno.EROFS))
_OF_THE_FILE = re.compile(r"(?i)encoder$|duration|rotate$|bps|number_of_|_statistics_")
"""Words of a track that tell of the file that it was in, or that are kept otherwise."""


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
        with written(path):
            path.with_suffix(".json").unlink(missing_ok=True)  # from now on it does not count
            self._container = av.open(address(path), "w", format="matroska")
        try:
            self._stream = self._add_stream(codec, crf)
        except Exception:
            self.give_up()
            raise

    def _add_stream(self, codec: str, crf: int) -> Any:
        film = self.film
        with written(self.path):
            stream = self._container.add_stream(
                CODECS[codec], rate=film.rate, options=_options(codec, crf, film)
            )
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
        return stream

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
        with written(self.path):
            self._container.mux(self._stream.encode(picture))

    def finish(self, faulty: bool = False) -> None:
        """Close the file and write the time stamps beside it, in one step: now the chunk counts.

        Args:
            faulty: a frame of it failed, so that another run should do it again.
        """
        with written(self.path):
            self._container.mux(self._stream.encode())
            self._container.close()
        mark = self.path.with_suffix(".faulty")
        if faulty:
            write_text("a frame of this chunk failed\n", mark)
        else:
            mark.unlink(missing_ok=True)
        write_text(json.dumps(self.times), self.path.with_suffix(".json"))

    def give_up(self) -> None:
        """Close the file; the chunk does not count."""
        with contextlib.suppress(Exception):
            self._container.close()


def is_settled(path: Path) -> bool:
    """Whether a chunk counts, and need not be done again."""
    return not path.with_suffix(".faulty").exists() and finished_times(path) is not None


def finished_times(path: Path) -> list[int] | None:
    """The time stamps of a chunk that counts, else None."""
    try:
        times: list[int] = json.loads(path.with_suffix(".json").read_text())
    except (OSError, ValueError):
        return None
    return times if path.is_file() else None


def assemble(film: Film, chunks: list[Path], target: Path, shown: Path, trial: bool = False) -> None:
    """Put chunks and the sound of the original into one file; packets are copied, not encoded again.

    Args:
        film: the original.
        chunks: in order, all finished.
        target: what to write; its extension tells the container.
        shown: what the user calls it, for errors.
        trial: leave out the sound that comes after the chunks.

    Raises:
        InputError: the container cannot hold the codec or a sound track, or it cannot be written.
    """
    av = import_av()
    try:
        with opened(film.path) as original, av.open(address(target), "w") as output:
            with av.open(address(chunks[0])) as first:
                first_codec = first.streams.video[0].codec_context.name
                picture = _copied(output, first.streams.video[0])
            _describe(picture, original.streams.video[0])
            picture.time_base = film.time_base
            if first_codec == "hevc" and target.suffix.lower() in (".mp4", ".mov", ".m4v"):
                picture.codec_context.codec_tag = "hvc1"  # the tag that Apple's players ask for
            if film.display:
                picture.set_display_matrix(film.display)
            sounds = {stream.index: _copied(output, stream) for stream in original.streams.audio}
            for stream in original.streams.audio:
                _describe(sounds[stream.index], stream)
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
                sound = None if trial else next(waiting, None)
    except (av.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in _FAULTS_OF_A_DISK:
            raise InputError(shown, f"cannot be written ({said(error)})") from error
        reason = f"this kind of file cannot hold the film or its sound ({said(error)}); try .mkv or .mp4"
        raise InputError(shown, reason) from error


def check_container(film: Film, codec: str, crf: int, parts: FilmParts) -> None:
    """Refuse, before any work, a kind of file that cannot hold the film: tries it with the first frame.

    Args:
        film: the original.
        codec, crf: as for a `ChunkWriter`.
        parts: the folder to try it in, where nothing of the trial stays.

    Raises:
        InputError: no kind of film has the target's extension, its kind cannot hold codec or sound, or the
            codec cannot be written here.
    """
    trial, whole = parts.trial, parts.whole
    try:
        _check_extension(whole, parts.target)
        for frame in islice(read_frames(film, damaged=lambda *_: None), 1):
            writer = ChunkWriter(trial, film, codec, crf)
            writer.add(frame, frame.pixels)
            writer.finish()
            assemble(film, [trial], whole, parts.target, trial=True)
    except InputError:
        if not parts.chunk(0).exists():
            parts.remove()
        raise
    finally:
        for path in (whole, trial, trial.with_suffix(".json")):
            path.unlink(missing_ok=True)


def _check_extension(path: Path, shown: Path) -> None:
    try:
        import_av().open(address(path), "w").close()
    except ValueError as error:
        raise InputError(shown, "no kind of film has this extension; try .mkv or .mp4") from error


def _copied(output: Any, stream: Any) -> Any:
    """A track for the packets of another; also where a codec can only be read here, and not written."""
    try:
        return output.add_stream_from_template(stream)
    except import_av().codec.codec.UnknownCodecError:
        return output.add_stream_from_template(stream, opaque=True)


def _describe(track: Any, original: Any) -> None:
    """Give a track the language, title and other words of the original, and its place among the others."""
    words = {key: value for key, value in original.metadata.items() if not _OF_THE_FILE.match(key)}
    if "name" in words:  # as MP4 calls a title, which it takes under the usual name
        words.setdefault("title", words.pop("name"))
    track.metadata.update(words)
    track.disposition = original.disposition


def _options(codec: str, crf: int, film: Film) -> dict[str, str]:
    """Options of an encoder. Of a film of high dynamic range, they tell it the display and the light.

    VP9 has no place for those in its own data.
    """
    options = {"crf": str(crf)}
    if codec == "h264":
        told = _REPEATABLE if has_avx512() else "", _hdr("mastering-display", "cll", film)
        if any(told):
            options["x264-params"] = ":".join(filter(None, told))
    if codec == "hevc":
        hdr = _hdr("master-display", "max-cll", film)
        options["x265-params"] = ":".join(filter(None, ("bframes=0:log-level=error", hdr)))
    if codec == "av1" and (hdr := _hdr("mastering-display", "content-light", film, plain=True)):
        options["svtav1-params"] = hdr
    if codec == "vp9":
        options |= {"b": "0", "row-mt": "1"}
    return options


def _hdr(display: str, light: str, film: Film, plain: bool = False) -> str:
    """Mastering display and light as encoders take them: in steps (1/50000, 1/10000) or in plain numbers."""
    told = []
    if film.mastering is not None:
        steps = [1] * 10 if plain else [50000] * 8 + [10000] * 2
        numbers = [value * step for value, step in zip(film.mastering, steps, strict=True)]
        rx, ry, gx, gy, bx, by, wx, wy, least, most = (
            f"{float(number):.6g}" if plain else str(round(number)) for number in numbers
        )
        told.append(f"{display}=G({gx},{gy})B({bx},{by})R({rx},{ry})WP({wx},{wy})L({most},{least})")
    if film.light is not None:
        told.append(f"{light}={film.light[0]},{film.light[1]}")
    return ":".join(told)


def _picture_packets(film: Film, chunks: list[Path]) -> Iterator[tuple[Any, float]]:
    """Packets with the original's time stamps, and their time in seconds."""
    av = import_av()
    times = array("q", (time for path in chunks for time in finished_times(path) or ()))
    times.append(times[-1] + round(1 / (film.rate * film.time_base)))  # the end of the last frame
    index = 0
    for path in chunks:
        with av.open(address(path)) as container:
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

"""Small films with everything that must come through a separation unchanged."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

TIME_BASE = Fraction(1, 90000)


def scene(count: int, height: int, width: int) -> list[np.ndarray]:
    """Smooth moving frames, uint8."""
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    frames = []
    for index in range(count):
        waves = [
            np.sin(columns / 9 + index / 3) * np.cos(rows / 11),
            np.cos(columns / 17 - rows / 13 + index / 4),
            np.sin((columns + rows) / 15 + index / 5),
        ]
        frames.append(np.rint(127.5 + 90 * np.dstack(waves)).astype(np.uint8))
    return frames


def write_film(
    path: Path,
    count: int = 20,
    size: tuple[int, int] = (64, 96),
    rotation: int | None = None,
    sound: bool = True,
    times: list[int] | None = None,
    pixel_format: str = "yuv420p",
    aspect: Fraction | None = None,
) -> Path:
    """An H.264 film tagged as BT.709, limited range, with a tone."""
    height, width = size
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=25, options={"crf": "1"})
        picture.width, picture.height, picture.pix_fmt = width, height, pixel_format
        context = picture.codec_context
        context.time_base = TIME_BASE
        context.color_range = context.colorspace = context.color_primaries = context.color_trc = 1
        if aspect is not None:
            picture.sample_aspect_ratio = aspect
        if rotation is not None:
            picture.set_display_rotation(rotation)
        tone = container.add_stream("aac", rate=44100, layout="mono") if sound else None
        for index, pixels in enumerate(scene(count, height, width)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame = frame.reformat(format=pixel_format, dst_colorspace=1, dst_color_range=1)
            frame.pts = times[index] if times else index * 3600
            frame.time_base = TIME_BASE
            container.mux(picture.encode(frame))
        container.mux(picture.encode())
        if tone is not None:
            for index in range(count):
                wave = (np.sin((np.arange(1024) + 1024 * index) / 20) * 8000).astype(np.int16)[None]
                samples = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
                samples.sample_rate, samples.pts = 44100, 1024 * index
                container.mux(tone.encode(samples))
            container.mux(tone.encode())
    return path


def read_film(path: Path) -> tuple[list[Fraction], list[np.ndarray], dict]:
    """Times in seconds, frames as stored in RGB, and what the film says of itself."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        first = frames[0]
        facts = {
            "rotation": first.rotation,
            "pixels": first.format.name,
            "tags": tuple(
                int(tag)
                for tag in (first.colorspace, first.color_range, first.color_primaries, first.color_trc)
            ),
            "codec": stream.codec_context.name,
            "rate": stream.average_rate,
        }
        times = [frame.pts * stream.time_base for frame in frames]
        return times, [frame.to_ndarray(format="rgb24") for frame in frames], facts


def read_sound(path: Path) -> list[tuple[Fraction, bytes]]:
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return []
        packets = container.demux(container.streams.audio[0])
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in packets if packet.size]

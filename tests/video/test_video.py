"""Films come out with what they went in with, whatever interrupts them."""

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("av")
pytest.importorskip("cv2")

from films import read_film, read_sound, scene, write_film

from dereflect.errors import InputError
from dereflect.methods.contract import Method, Traits
from dereflect.separator import Separator
from dereflect.video import VideoJob, convert_video, writing
from dereflect.video import convert as convert_module
from dereflect.video.convert import separated_frames
from dereflect.video.film import probe, read_frames


class Half(Method):
    """Takes 0.2 of a picture's red for the reflection, and remembers what it was shown."""

    family = "half"
    traits = Traits()

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, blended, *, generator=None, progress=None):
        self.shapes.append(tuple(blended.shape[2:]))
        removed = torch.zeros_like(blended)
        removed[:, 0] = 0.2 * blended[:, 0]
        return blended - removed, removed


@pytest.fixture
def separator() -> Separator:
    return Separator(Half(), name="half", device="cpu", dtype="float32")


def psnr(first: list[np.ndarray], second: list[np.ndarray]) -> float:
    difference = np.array(first, np.float64) - np.array(second, np.float64)
    return float(-10 * np.log10(max(1e-12, np.mean((difference / 255) ** 2))))


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_frames_times_tags_and_sound_come_through(separator: Separator, tmp_path: Path, codec: str):
    source, target = write_film(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    convert_video(VideoJob(source, target, strength=0.0, chunk=7, codec=codec), separator)
    before, after = read_film(source), read_film(target)
    assert after[0] == before[0]
    assert len(after[0]) == 20
    assert after[2] == before[2] | {"codec": codec}
    assert psnr(before[1], after[1]) > 38
    assert read_sound(source) == read_sound(target)
    assert len(read_sound(source)) > 10
    import av

    with av.open(str(target)) as film:  # the tags that Apple's players ask for
        picture = film.streams.video[0]
        assert picture.codec_context.codec_tag == {"h264": "avc1", "hevc": "hvc1"}[codec]
        assert float(picture.duration * picture.time_base) == pytest.approx(20 / 25)  # the last frame's, too
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


def test_uneven_time_stamps_are_kept(separator: Separator, tmp_path: Path):
    steps = np.random.default_rng(2).integers(900, 9000, 20)
    times = [int(time) for time in 45000 + np.cumsum(steps)]
    source = write_film(tmp_path / "in.mp4", times=times)
    convert_video(VideoJob(source, tmp_path / "out.mp4", chunk=6, radius=1), separator)
    assert read_film(tmp_path / "out.mp4")[0] == read_film(source)[0]
    convert_video(VideoJob(source, tmp_path / "out.mkv", chunk=6, radius=1), separator)
    # Matroska counts milliseconds, and begins at the first packet, which is one of sound.
    found, known = read_film(tmp_path / "out.mkv")[0], read_film(source)[0]
    sound = read_sound(tmp_path / "out.mkv")[0][0] - read_sound(source)[0][0]
    assert max(abs(one - two - sound) for one, two in zip(found, known, strict=True)) <= 0.0011


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_the_network_sees_turned_films_upright(separator: Separator, tmp_path: Path, rotation: int):
    source, target = write_film(tmp_path / "in.mp4", count=3, rotation=rotation), tmp_path / "out.mp4"
    convert_video(VideoJob(source, target, strength=0.0, radius=0), separator)
    upright = (96, 64) if abs(rotation) == 90 else (64, 96)
    assert set(separator.method.shapes) == {upright}
    before, after = read_film(source), read_film(target)
    assert after[2] == before[2]
    assert abs(after[2]["rotation"]) == abs(rotation)
    assert psnr(before[1], after[1]) > 38
    frame = next(read_frames(probe(source)))
    assert psnr([np.rot90(before[1][0], before[2]["rotation"] // 90)], [frame.pixels]) > 45


def test_ten_bits_stay_ten_bits(separator: Separator, tmp_path: Path):
    source = write_film(tmp_path / "in.mp4", count=4, pixel_format="yuv420p10le")
    assert next(read_frames(probe(source))).pixels.dtype == np.uint16
    convert_video(VideoJob(source, tmp_path / "out.mp4", strength=0.0), separator)
    before, after = read_film(source), read_film(tmp_path / "out.mp4")
    assert after[2] == before[2]
    assert psnr(before[1], after[1]) > 38


def test_layers_are_what_the_method_says(separator: Separator, tmp_path: Path):
    source = write_film(tmp_path / "in.mp4", count=3, sound=False, pixel_format="yuv444p")
    originals = np.array(read_film(source)[1], np.float64)
    for layer, factor in (("transmission", (0.8, 1, 1)), ("reflection", (0.2, 0, 0))):
        target = tmp_path / f"{layer}.mp4"
        convert_video(VideoJob(source, target, layer=layer, crf=1, radius=0), separator)
        assert psnr(read_film(target)[1], list(originals * factor)) > 35
        assert read_sound(target) == []


def test_where_a_chunk_begins_changes_nothing(separator: Separator, tmp_path: Path):
    film = probe(write_film(tmp_path / "in.mp4", count=16, size=(144, 160), sound=False))
    job = VideoJob(film.path, tmp_path / "out.mp4", radius=3)
    whole = {frame.number: pixels for frame, pixels in separated_frames(film, separator, job)}
    assert sorted(whole) == list(range(16))
    for start in (1, 3, 9, 15):
        part = {frame.number: pixels for frame, pixels in separated_frames(film, separator, job, start)}
        assert sorted(part) == list(range(start, 16))
        for index, pixels in part.items():
            np.testing.assert_array_equal(pixels, whole[index])


@pytest.mark.parametrize("stop", [3, 11, 20])
def test_a_stopped_run_is_taken_up_at_its_last_chunk(separator: Separator, tmp_path: Path, stop: int):
    source = write_film(tmp_path / "in.mp4")
    job = VideoJob(source, tmp_path / "out.mp4", radius=2, chunk=5)

    def interrupt(done: int, total: int) -> None:
        assert total == 20
        if done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_video(job, separator, interrupt)
    assert not job.target.exists()
    separator.method.shapes.clear()
    convert_video(job, separator)
    kept = (stop - 1) // 5 * 5
    assert len(separator.method.shapes) == 20 - kept + min(2, kept)
    assert not job.parts.exists()
    straight = VideoJob(source, tmp_path / "straight.mp4", radius=2, chunk=5)
    convert_video(straight, separator)
    assert job.target.read_bytes() == straight.target.read_bytes()


@pytest.mark.parametrize("has", [True, False])
def test_instructions_are_chosen_only_where_the_processor_has_them(tmp_path: Path, monkeypatch, has: bool):
    film = probe(write_film(tmp_path / "in.mp4", count=1, sound=False))
    monkeypatch.setattr(writing, "has_avx512", lambda: has)
    told = writing._options("h264", 16, film).get("x264-params")
    assert told == ("asm=AVX2,FMA3,BMI2,LZCNT" if has else None)


def test_chunks_of_another_job_are_not_used(separator: Separator, tmp_path: Path):
    source = write_film(tmp_path / "in.mp4", count=6, sound=False)
    job = VideoJob(source, tmp_path / "out.mp4", chunk=2, radius=0)

    def interrupt(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_video(job, separator, interrupt)
    separator.method.shapes.clear()
    convert_video(VideoJob(source, job.target, chunk=2, radius=0, layer="reflection"), separator)
    assert len(separator.method.shapes) == 6


def test_few_frames_are_held_however_long_the_film(
    separator: Separator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    film = probe(write_film(tmp_path / "in.mp4", count=40, sound=False))
    job = VideoJob(film.path, tmp_path / "out.mp4", radius=3)
    read = 0

    def counted(*arguments):
        nonlocal read
        for frame in read_frames(*arguments):
            read += 1
            yield frame

    monkeypatch.setattr(convert_module, "read_frames", counted)
    ahead = [read - frame.number for frame, _ in separated_frames(film, separator, job)]
    assert len(ahead) == 40
    assert max(ahead) == 4  # itself and three that guide it


def test_odd_sizes_are_kept(separator: Separator, tmp_path: Path):
    source = write_film(tmp_path / "in.mp4", count=3, size=(63, 95), sound=False, pixel_format="yuv444p")
    convert_video(VideoJob(source, tmp_path / "out.mp4"), separator)
    assert read_film(tmp_path / "out.mp4")[1][0].shape == (63, 95, 3)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_the_shape_of_pixels_is_kept(separator: Separator, tmp_path: Path, suffix: str):
    source = write_film(tmp_path / "in.mp4", count=3, sound=False, aspect=Fraction(4, 3))
    assert probe(source).aspect == Fraction(4, 3)
    convert_video(VideoJob(source, tmp_path / f"out.{suffix}"), separator)
    assert probe(tmp_path / f"out.{suffix}").aspect == Fraction(4, 3)


def test_faults_are_one_line(separator: Separator, tmp_path: Path, capsys, monkeypatch):
    film = write_film(tmp_path / "in.mp4", count=2, sound=False)
    text = tmp_path / "text.mp4"
    text.write_text("no film")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(film.read_bytes()[:2000])
    out = tmp_path / "out.mp4"
    for job, fault in (
        (VideoJob(tmp_path / "nowhere.mp4", out), "no such file"),
        (VideoJob(text, out), "is not a film"),
        (VideoJob(cut, out), "cut.mp4"),
        (VideoJob(tmp_path, out), "is a folder"),
        (VideoJob(film, film, overwrite=True), "is the film itself"),
        (VideoJob(film, text), "exists already"),
        (VideoJob(film, tmp_path / "out"), "give it an extension"),
        (VideoJob(film, tmp_path / "no" / "out.mp4"), "no such folder"),
        (VideoJob(film, out, codec="divx"), "h264, hevc, av1, vp9"),
    ):
        with pytest.raises(InputError, match=fault):
            convert_video(job, separator)
    assert not out.exists()

    from dereflect.cli import main

    monkeypatch.setattr(sys, "argv", ["dereflect", "video", str(film), str(text)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") <= 2


def test_a_container_that_cannot_hold_the_sound_is_named(separator: Separator, tmp_path: Path):
    source = write_film(tmp_path / "in.mp4", count=3)
    with pytest.raises(InputError, match=r"cannot hold .* try \.mkv or \.mp4"):
        convert_video(VideoJob(source, tmp_path / "out.webm"), separator)


def test_scene_is_not_still():
    first, second = scene(2, 64, 96)
    assert np.abs(first.astype(int) - second).mean() > 5


def frames_of(source: Path, separator: Separator, **job: object) -> list[np.ndarray]:
    asked = VideoJob(source, source.with_name("out.mp4"), **job)
    return [pixels.astype(int) for _, pixels in separated_frames(probe(source), separator, asked)]


def test_a_strength_below_zero_shows_the_reflection_alone(separator: Separator, tmp_path: Path):
    source = write_film(tmp_path / "in.mp4", count=5)
    reflections = frames_of(source, separator, layer="reflection")
    alone = frames_of(source, separator, strength=-1.0)
    photos = [frame.pixels.astype(int) for frame in read_frames(probe(source), 0)]
    half = frames_of(source, separator, strength=-0.5, radius=0)
    for photo, reflection, one, other in zip(photos, reflections, alone, half, strict=True):
        assert np.array_equal(one, reflection)
        removed = np.stack([0.2 * photo[..., 0], *np.zeros((2, *photo.shape[:2]))], axis=-1)
        assert np.abs(other - (photo + removed) / 2).max() <= 1
    with pytest.raises(InputError, match=r"strength -1\.5: give a number from -1 to 1"):
        convert_video(VideoJob(source, tmp_path / "out.mp4", strength=-1.5), separator)

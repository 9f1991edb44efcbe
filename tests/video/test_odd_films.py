"""Films with odd names, high dynamic range, words of their tracks, damaged frames; runs that meet or die."""

import os
import sys
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import pytest
from filelock import FileLock
from films import TIME_BASE, read_film, scene, write_film
from test_video import Half

from dereflect import leftovers
from dereflect.errors import InputError, trace_of
from dereflect.separator import Separator
from dereflect.video import VideoJob, convert_video
from dereflect.video.film import _decoded, probe, read_frames

GRADED = (34000, 16000, 13250, 34500, 7500, 3000, 15635, 16450)


@pytest.fixture
def separator() -> Separator:
    return Separator(Half(), name="half", device="cpu", dtype="float32")


def write_hdr(path: Path) -> Path:
    """Ten bits, PQ, with a mastering display and light level."""
    rx, ry, gx, gy, bx, by, wx, wy = GRADED
    told = f"master-display=G({gx},{gy})B({bx},{by})R({rx},{ry})WP({wx},{wy})L(10000000,1):max-cll=1000,400"
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx265", rate=25, options={"x265-params": f"log-level=error:{told}"})
        picture.width, picture.height, picture.pix_fmt = 96, 64, "yuv420p10le"
        context = picture.codec_context
        context.time_base = TIME_BASE
        context.color_primaries, context.color_trc, context.colorspace = 9, 16, 9
        for index, pixels in enumerate(scene(3, 64, 96)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p10le")
            frame.pts, frame.time_base = index * 3600, TIME_BASE
            container.mux(picture.encode(frame))
        container.mux(picture.encode())
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="names that Windows does not allow")
@pytest.mark.parametrize(
    "name", ["clip-12:30.mp4", "http:x.mp4", "a%03d#1?.mp4", "-dash.mp4", "caf\udce9.mp4", "two\nlines.mp4"]
)
def test_odd_names_are_names(separator, tmp_path, monkeypatch, name):
    source = write_film(tmp_path / "in.mp4", count=3, sound=False)
    monkeypatch.chdir(tmp_path)
    source.rename(name)
    convert_video(VideoJob(Path(name), Path(f"out{name}"), chunk=2), separator)
    os.rename(f"out{name}", "plain.mp4")
    assert len(read_film(Path("plain.mp4"))[1]) == 3
    assert len(os.listdir()) == 2


@pytest.mark.parametrize(
    ("codec", "suffix"), [("hevc", "mp4"), ("hevc", "mkv"), ("h264", "mp4"), ("av1", "mkv")]
)
def test_mastering_display_and_light_level_come_through(separator, tmp_path, codec, suffix):
    source, target = write_hdr(tmp_path / "in.mp4"), tmp_path / f"out.{suffix}"
    assert probe(source).light == (1000, 400)
    convert_video(VideoJob(source, target, codec=codec, chunk=2), separator)
    film = probe(target)
    assert film.light == (1000, 400)
    wanted = [Fraction(value, 50000) for value in GRADED] + [Fraction(1, 10000), Fraction(1000)]
    assert [float(value) for value in film.mastering] == pytest.approx(
        [float(value) for value in wanted], abs=1e-4
    )
    assert (film.transfer, film.primaries) == (16, 9)


def test_language_title_and_place_of_tracks_come_through(separator, tmp_path):
    plain, source = write_film(tmp_path / "plain.mp4", count=3), tmp_path / "in.mkv"
    with av.open(str(plain)) as original, av.open(str(source), "w") as container:
        tracks = {stream.index: container.add_stream_from_template(stream) for stream in original.streams}
        picture, sound = tracks.values()
        picture.metadata.update({"title": "Fenster", "language": "ger"})
        sound.metadata.update({"title": "Kommentar", "language": "fre"})
        sound.disposition = av.stream.Disposition.comment
        container.metadata["title"] = "Ferien"
        for packet in original.demux():
            if packet.dts is not None:
                packet.stream = tracks[packet.stream.index]
                container.mux(packet)
    for name in ("out.mkv", "out.mp4", "back.mkv"):
        convert_video(VideoJob(source, tmp_path / name), separator)
        with av.open(str(tmp_path / name)) as film:
            assert film.metadata["title"] == "Ferien"
            words = [stream.metadata for stream in film.streams]
            titles = [word.get("title", word.get("name")) for word in words]
            assert titles == ["Fenster", "Kommentar"], words
            assert [word["language"] for word in words] == ["ger", "fre"]
            assert film.streams.audio[0].disposition & av.stream.Disposition.comment
        source = tmp_path / name  # and from there on to the next kind of file


def test_a_sound_that_can_only_be_read_here_is_copied(separator, tmp_path):
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        picture, tone = (
            container.add_stream("libx264", rate=25),
            container.add_stream("libmp3lame", rate=44100),
        )
        picture.width, picture.height, picture.pix_fmt = 96, 64, "yuv420p"
        for pixels in scene(3, 64, 96):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(picture.encode())
        import numpy as np

        for index in range(4):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, 1152 * index
            container.mux(tone.encode(frame))
        container.mux(tone.encode())
    convert_video(VideoJob(source, tmp_path / "out.mkv"), separator)
    with av.open(str(tmp_path / "out.mkv")) as film:
        assert film.streams.audio[0].codec_context.name.startswith("mp3")


def failing(separator: Separator, monkeypatch, at: set[int], fault: BaseException) -> None:
    real, calls = Separator.tensors, []

    def tensors(self, *arguments, **keywords):
        calls.append(1)
        if len(calls) - 1 in at:
            raise fault
        return real(self, *arguments, **keywords)

    monkeypatch.setattr(Separator, "tensors", tensors)


@pytest.mark.parametrize("fault", [RecursionError("too deep"), MemoryError(), OverflowError("large")])
def test_a_frame_that_fails_is_shown_as_it_was_and_named(separator, tmp_path, monkeypatch, fault):
    source = write_film(tmp_path / "in.mp4", count=6, sound=False)
    job = VideoJob(source, tmp_path / "out.mp4", chunk=2, radius=0)
    failing(separator, monkeypatch, {3}, fault)
    told = []
    convert_video(job, separator, failed=lambda number, error: told.append((number, error)))
    [(number, error)] = told
    assert number == 3
    assert str(error).startswith(f"frame 3: {type(fault).__name__}")
    assert "in tensors" in trace_of(error)
    before, after = read_film(source)[1], read_film(job.target)[1]
    assert abs(after[3].astype(int) - before[3]).mean() < 4
    assert abs(after[2].astype(int) - before[2]).mean() > 8


def test_without_a_listener_it_is_a_warning(separator, tmp_path, monkeypatch):
    source = write_film(tmp_path / "in.mp4", count=3, sound=False)
    failing(separator, monkeypatch, {1}, OverflowError("large"))
    with pytest.warns(UserWarning, match=r"in\.mp4: frame 1: OverflowError: large"):
        convert_video(VideoJob(source, tmp_path / "out.mp4"), separator)


def test_a_film_of_which_nothing_can_be_separated_is_refused(separator, tmp_path, monkeypatch):
    source = write_film(tmp_path / "in.mp4", count=3, sound=False)
    failing(separator, monkeypatch, {0, 1, 2}, MemoryError())
    with pytest.raises(InputError, match=r"no frame could be separated \(MemoryError\)"):
        convert_video(VideoJob(source, tmp_path / "out.mp4"), separator, failed=lambda *_: None)
    assert not (tmp_path / "out.mp4").exists()


def test_a_chunk_with_a_failed_frame_is_done_again_by_the_next_run(separator, tmp_path, monkeypatch):
    source = write_film(tmp_path / "in.mp4", count=6, sound=False)
    job = VideoJob(source, tmp_path / "out.mp4", chunk=2, radius=0)
    failing(separator, monkeypatch, {2}, OverflowError())

    def stop(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_video(job, separator, stop, lambda *_: None)
    monkeypatch.undo()
    separator.method.shapes.clear()
    convert_video(job, separator)
    assert len(separator.method.shapes) == 4


class Damaged:
    """A container of which one packet cannot be decoded."""

    def __init__(self, container, at: int) -> None:
        self.container, self.at = container, at

    def demux(self, stream):
        for number, packet in enumerate(self.container.demux(stream)):
            yield self if number == self.at else packet

    def decode(self):
        raise av.error.InvalidDataError(1094995529, "Invalid data found when processing input")


def test_data_that_cannot_be_decoded_costs_only_itself(tmp_path):
    source = write_film(tmp_path / "in.mp4", count=12, sound=False)
    told = []
    with av.open(str(source)) as container:
        damaged = Damaged(container, 11)
        frames = list(_decoded(damaged, container.streams.video[0], lambda *fault: told.append(fault)))
    assert 10 <= len(frames) < 12
    [(number, error)] = told
    assert 0 < number < 12
    assert "Invalid data" in str(error)
    with av.open(str(source)) as container, pytest.raises(av.FFmpegError):
        list(_decoded(Damaged(container, 11), container.streams.video[0], None))


def test_faults_of_the_encoder_are_one_line(separator, tmp_path, monkeypatch):
    source = write_film(tmp_path / "in.mp4", count=3, sound=False)
    monkeypatch.setattr("dereflect.video.writing.CODECS", {"h264": "no-such-encoder"})
    with pytest.raises(InputError, match="cannot be written") as caught:
        convert_video(VideoJob(source, tmp_path / "out.mp4"), separator)
    assert len(str(caught.value).splitlines()) == 1


def test_an_extension_of_no_film_is_refused_before_any_work(separator, tmp_path):
    source = write_film(tmp_path / "in.mp4", count=3, sound=False)
    with pytest.raises(InputError, match=r"out\.xyz: no kind of film has this extension"):
        convert_video(VideoJob(source, tmp_path / "out.xyz"), separator)
    assert separator.method.shapes == []
    assert os.listdir(tmp_path) == ["in.mp4"]


@pytest.mark.parametrize("suffix", ["webm", "avi"])
def test_a_kind_of_file_that_cannot_hold_the_film_is_refused_before_any_work(separator, tmp_path, suffix):
    source = write_film(tmp_path / "in.mp4", count=3, sound=False)
    target = tmp_path / f"out.{suffix}"
    with pytest.raises(InputError, match="this kind of file cannot hold the film") as caught:
        convert_video(VideoJob(source, target), separator)
    assert caught.value.subject == str(target)
    assert "parts" not in str(caught.value)
    assert separator.method.shapes == []
    assert os.listdir(tmp_path) == ["in.mp4"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_target_that_cannot_be_replaced_is_refused_before_any_work(separator, tmp_path, overwrite):
    source = write_film(tmp_path / "in.mp4", count=3, sound=False)
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(InputError, match=r"folder\.mp4: is a folder"):
        convert_video(VideoJob(source, tmp_path / "folder.mp4", overwrite=overwrite), separator)
    (tmp_path / "link.mp4").symlink_to(tmp_path / "nowhere")
    if not overwrite:
        with pytest.raises(InputError, match=r"link\.mp4: exists already"):
            convert_video(VideoJob(source, tmp_path / "link.mp4"), separator)
    assert separator.method.shapes == []


def test_a_folder_of_the_users_that_is_called_like_one_of_parts_is_left_alone(separator, tmp_path):
    source = write_film(tmp_path / "in.mp4", count=3, sound=False)
    job = VideoJob(source, tmp_path / "out.mp4")
    job.parts.mkdir()
    (job.parts / "holiday.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        convert_video(job, separator)
    assert (job.parts / "holiday.txt").read_text() == "mine"


def test_chunks_made_with_other_settings_of_the_model_are_not_used(separator, tmp_path):
    source = write_film(tmp_path / "in.mp4", count=6, sound=False)
    job = VideoJob(source, tmp_path / "out.mp4", chunk=2, radius=0, options={"steps": "5"})

    def stop(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_video(job, separator, stop)
    separator.method.shapes.clear()
    convert_video(replace(job, options={"steps": "50"}), separator)
    assert len(separator.method.shapes) == 6


def test_the_command_line_tells_apart_chunks_by_the_models_settings(model_folder, tmp_path, monkeypatch):
    from dereflect.cli import main

    told = []

    def note(job: VideoJob, *_: object) -> None:
        told.append(job.options)
        raise InputError("film", "stopped here")

    monkeypatch.setattr("dereflect.video.convert_video", note)
    monkeypatch.setattr("dereflect.separator.load", lambda *_, **__: None)
    words = ["video", "in.mp4", "out.mp4", "--model", str(model_folder), "--set", "steps=5"]
    monkeypatch.setattr(sys, "argv", ["dereflect", *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert told == [{"steps": "5"}]


def test_a_film_that_breaks_off_names_the_last_whole_frame(tmp_path, monkeypatch):
    film = probe(write_film(tmp_path / "in.mp4", count=4, sound=False))

    def broken(*arguments):
        yield from islice(_decoded(*arguments), 3)
        raise av.error.InvalidDataError(1094995529, "Invalid data found when processing input")

    monkeypatch.setattr("dereflect.video.film._decoded", broken)
    with pytest.raises(InputError, match=r"damaged after frame 2 \(Invalid data found"):
        list(read_frames(film))


def test_two_runs_on_one_film_do_not_mix(separator, tmp_path):
    source = write_film(tmp_path / "in.mp4", count=3, sound=False)
    job = VideoJob(source, tmp_path / "out.mp4")
    job.parts.mkdir()
    with FileLock(job.parts / "lock"), pytest.raises(InputError, match="another run is at work on it"):
        convert_video(job, separator)
    convert_video(job, separator)
    assert sorted(os.listdir(tmp_path)) == ["in.mp4", "out.mp4"]


def test_a_run_killed_when_all_was_done_is_finished_by_the_next(separator, tmp_path, monkeypatch):
    source = write_film(tmp_path / "in.mp4", count=3, sound=False)
    job = VideoJob(source, tmp_path / "out.mp4")

    def die(self) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dereflect.video.parts.FilmParts.remove", die)
    with pytest.raises(KeyboardInterrupt):
        convert_video(job, separator)
    monkeypatch.undo()
    assert job.parts.exists()
    content = job.target.read_bytes()
    assert convert_video(job, separator).width == 96
    assert sorted(os.listdir(tmp_path)) == ["in.mp4", "out.mp4"]
    assert job.target.read_bytes() == content
    with pytest.raises(InputError, match="exists already"):
        convert_video(job, separator)


def test_what_a_killed_run_has_left_beside_the_film_is_removed(separator, tmp_path):
    source = write_film(tmp_path / "in.mp4", count=2, sound=False)
    gone = tmp_path / leftovers.temporary_name().replace(f"-{os.getpid():x}-", "-7fffffff-")
    gone.mkdir()
    leftovers._swept.cache_clear()
    convert_video(VideoJob(source, tmp_path / "out.mp4"), separator)
    assert sorted(os.listdir(tmp_path)) == ["in.mp4", "out.mp4"]


def test_the_command_line_names_frames_and_exits_with_1(model_folder, tmp_path, monkeypatch, capsys):
    from dereflect.cli import main

    source = write_film(tmp_path / "in.mp4", count=3, sound=False)
    failing(None, monkeypatch, {1}, OverflowError("large"))
    words = ["video", source, tmp_path / "out.mp4", "--model", model_folder, "--device", "cpu", "-v"]
    monkeypatch.setattr(sys, "argv", ["dereflect", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr().err
    assert end.value.code == 1
    assert "frame 1: OverflowError: large" in said.splitlines()
    assert "Traceback" in said

"""Watching a folder: what is complete is separated once, and what is not is left until it is."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import names, photo

from dereflect.cli import watching
from dereflect.cli.inputs import Found, InputFile
from dereflect.cli.watching import SETTLED, Arrivals, is_unfinished, is_written_to

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who writes to a file")


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def arrivals(clock) -> Arrivals:
    return Arrivals(clock)


def looks(arrivals: Arrivals, clock: Clock, *paths: Path, seconds: float = SETTLED) -> list[str]:
    """What is complete at a look that comes some seconds after the last."""
    clock.now += seconds
    return [found.path.name for found in arrivals.complete(InputFile(path) for path in paths)]


def test_a_file_is_taken_once_it_has_not_changed_for_a_while(arrivals, clock, tmp_path):
    path = photo(tmp_path / "a.jpg")
    assert looks(arrivals, clock, path) == []
    assert looks(arrivals, clock, path, seconds=SETTLED / 2) == []
    assert looks(arrivals, clock, path, seconds=SETTLED / 2) == ["a.jpg"]
    assert looks(arrivals, clock, path) == []


def test_a_file_that_grows_is_waited_for(arrivals, clock, tmp_path):
    content = photo(tmp_path / "whole.jpg").read_bytes()
    path = tmp_path / "a.jpg"
    for end in range(100, len(content), 400):
        path.write_bytes(content[:end])
        assert looks(arrivals, clock, path) == []
    path.write_bytes(content)
    assert looks(arrivals, clock, path) == []
    assert looks(arrivals, clock, path) == ["a.jpg"]


def test_a_file_whose_size_was_set_beforehand_is_waited_for(arrivals, clock, tmp_path):
    path = photo(tmp_path / "a.jpg")
    for moment in range(5):  # the size stays, as where a copy begins with all of it
        os.utime(path, (1000 + moment, 1000 + moment))
        assert looks(arrivals, clock, path) == []
    assert looks(arrivals, clock, path) == ["a.jpg"]


def test_a_file_that_is_written_anew_is_taken_again(arrivals, clock, tmp_path):
    path = photo(tmp_path / "a.jpg")
    looks(arrivals, clock, path)
    assert looks(arrivals, clock, path) == ["a.jpg"]
    os.replace(photo(tmp_path / "b.jpg", seed=1), path)
    looks(arrivals, clock, path)
    assert looks(arrivals, clock, path) == ["a.jpg"]


def test_an_empty_file_is_a_place_that_something_will_fill(arrivals, clock, tmp_path):
    path = tmp_path / "a.jpg"
    path.touch()
    looks(arrivals, clock, path)
    assert looks(arrivals, clock, path) == []


def test_a_file_that_goes_away_is_forgotten(arrivals, clock, tmp_path):
    path = photo(tmp_path / "a.jpg")
    looks(arrivals, clock, path)
    path.rename(tmp_path / "elsewhere")
    assert looks(arrivals, clock) == []
    (tmp_path / "elsewhere").rename(path)
    assert looks(arrivals, clock, path) == []
    assert looks(arrivals, clock, path) == ["a.jpg"]


@pytest.mark.parametrize("name", ["~a.jpg", ".a.jpg", "~syncthing~a.jpg"])
def test_names_of_files_at_work_are_left(name, tmp_path):
    assert is_unfinished(photo(tmp_path / name))


@pytest.mark.parametrize("ending", [".part", ".crdownload", ".aria2", ".filepart"])
def test_a_file_beside_it_says_that_it_is_not_whole(ending, tmp_path):
    path = photo(tmp_path / "a.jpg")
    assert not is_unfinished(path)
    (tmp_path / f"a.jpg{ending}").touch()
    assert is_unfinished(path)


@linux
def test_a_file_that_is_open_for_writing_is_waited_for(arrivals, clock, tmp_path):
    path = photo(tmp_path / "a.jpg")
    writer = f"import sys; file = open({str(path)!r}, 'ab'); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", writer], stdin=-1, stdout=-1) as other:
        assert other.stdout.readline() == b"open\n"
        if not is_written_to(path):
            other.communicate()
            pytest.skip("this file system does not tell who writes to a file")
        looks(arrivals, clock, path)
        assert looks(arrivals, clock, path) == []
        other.communicate()
    assert not is_written_to(path)
    assert looks(arrivals, clock, path) == ["a.jpg"]


class Stop(Exception):  # noqa: N818
    """The script of a test is over, though it should have been stopped before."""


@pytest.fixture
def play(separate, monkeypatch, clock):
    """Watch, with something happening between two looks; Ctrl-C comes behind the last of it."""

    def run(*words, happens):
        steps = [step for action in happens for step in (action, None, None)]

        def pause(seconds: float) -> None:
            clock.now += SETTLED
            if not steps:
                raise KeyboardInterrupt
            action = steps.pop(0)
            if action is not None:
                action()

        monkeypatch.setattr(watching.time, "sleep", pause)
        monkeypatch.setattr(watching, "Arrivals", lambda: Arrivals(clock))
        return separate(*words, "--watch", "--layers", "transmission")

    return run


@pytest.fixture
def inbox(tmp_path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


def test_photos_are_separated_as_they_arrive_until_ctrl_c(play, inbox, tmp_path):
    photo(inbox / "before.jpg")
    done = play(
        inbox,
        "-o",
        tmp_path / "out",
        "--json",
        happens=[lambda: photo(inbox / "one.jpg"), lambda: photo(inbox / "two.png", seed=1)],
    )
    assert done.code == 0, done.err
    assert names(tmp_path / "out") == [
        "before_transmission.jpg",
        "one_transmission.jpg",
        "two_transmission.png",
    ]
    assert [Path(json.loads(line)["input"]).name for line in done.out.splitlines()] == [
        "before.jpg",
        "one.jpg",
        "two.png",
    ]
    assert f"watching {inbox}; Ctrl-C stops" in done.err
    assert "3 photos separated" in done.lines[-1]


def test_an_empty_folder_is_no_fault(play, inbox, tmp_path):
    done = play(inbox, "-o", tmp_path / "out", happens=[])
    assert done.code == 0
    assert "no pictures" not in done.err


def test_a_restart_skips_what_is_there(play, inbox, tmp_path):
    photo(inbox / "one.jpg")
    words = inbox, "-o", tmp_path / "out", "--skip-existing"
    assert play(*words, happens=[lambda: None]).code == 0
    before = (tmp_path / "out" / "one_transmission.jpg").stat().st_mtime_ns
    again = play(*words, happens=[lambda: photo(inbox / "two.jpg")])
    assert again.code == 0, again.err
    assert names(tmp_path / "out") == ["one_transmission.jpg", "two_transmission.jpg"]
    assert (tmp_path / "out" / "one_transmission.jpg").stat().st_mtime_ns == before
    assert "1 skipped (outputs are there already)" in again.lines[-1]


def test_a_photo_that_is_replaced_is_separated_again_with_overwrite(play, inbox, tmp_path):
    photo(inbox / "one.png")
    seen = []

    def replace() -> None:
        seen.append((tmp_path / "out" / "one_transmission.png").read_bytes())
        photo(inbox / "one.png", seed=1)

    done = play(inbox, "-o", tmp_path / "out", "--overwrite", happens=[lambda: None, replace])
    assert done.code == 0, done.err
    assert (tmp_path / "out" / "one_transmission.png").read_bytes() != seen[0]


def test_a_damaged_photo_is_one_line_and_the_watch_goes_on(play, inbox, tmp_path):
    (inbox / "bad.jpg").write_bytes(b"no picture at all")
    done = play(inbox, "-o", tmp_path / "out", happens=[lambda: photo(inbox / "good.jpg"), lambda: None])
    assert done.code == 1
    assert len([line for line in done.lines if "bad.jpg" in line]) == 1
    assert names(tmp_path / "out") == ["good_transmission.jpg"]


def test_a_folder_that_vanishes_is_waited_for(play, inbox, tmp_path):
    photo(inbox / "one.jpg")
    away = tmp_path / "away"

    def come_back() -> None:
        away.rename(inbox)
        photo(inbox / "two.jpg")

    done = play(inbox, "-o", tmp_path / "out", happens=[lambda: None, lambda: inbox.rename(away), come_back])
    assert done.code == 0, done.err
    assert len([line for line in done.lines if line.startswith(f"{inbox}: is gone; waiting")]) == 1
    assert len([line for line in done.lines if line == f"{inbox}: is back"]) == 1
    assert names(tmp_path / "out") == ["one_transmission.jpg", "two_transmission.jpg"]
    assert "2 photos separated" in done.lines[-1]  # the first was not done twice


def test_a_photo_that_goes_away_before_it_is_read_is_done_when_it_is_back(play, inbox, tmp_path, monkeypatch):
    from dereflect.cli.run import Run

    photo(inbox / "one.jpg")
    away, separate_one = tmp_path / "away", Run._one

    def vanish(self, *words):
        monkeypatch.setattr(Run, "_one", separate_one)
        inbox.rename(away)
        return separate_one(self, *words)

    monkeypatch.setattr(Run, "_one", vanish)
    done = play(
        inbox, "-o", tmp_path / "out", happens=[lambda: None, lambda: away.rename(inbox), lambda: None]
    )
    assert done.code == 1
    assert len([line for line in done.lines if line.startswith(f"{inbox / 'one.jpg'}: No such file")]) == 1
    assert names(tmp_path / "out") == ["one_transmission.jpg"]


def test_raw_files_that_nothing_develops_are_said_once_even_quietly(play, inbox, tmp_path, monkeypatch):
    monkeypatch.setattr("dereflect.cli.inputs.is_here", lambda: False)
    (inbox / "one.dng").write_bytes(b"II*\0 raw")
    done = play(inbox, "-o", tmp_path / "out", "--quiet", happens=[lambda: None, lambda: None])
    line = "raw files are left out: a raw file of a camera needs rawpy: run pip install 'dereflect[raw]'"
    assert [said for said in done.lines if "raw" in said] == [line]


def test_the_tree_below_is_watched_too_and_the_output_folder_in_it_is_not(play, inbox, tmp_path):
    done = play(
        inbox,
        "-r",
        "-o",
        inbox / "out",
        happens=[lambda: photo(inbox / "day" / "one.jpg"), lambda: None, lambda: None],
    )
    assert done.code == 0, done.err
    assert names(inbox / "out") == [str(Path("day", "one_transmission.jpg"))]


def test_ctrl_c_within_a_photo_drops_it_whole(play, inbox, tmp_path, monkeypatch):
    from dereflect.separation import Separation

    def interrupted(self, *words):
        raise KeyboardInterrupt

    monkeypatch.setattr(Separation, "encoded", interrupted)
    photo(inbox / "one.jpg")
    done = play(inbox, "-o", tmp_path / "out", happens=[lambda: None])
    assert done.code == 0
    assert "nothing is half-written" in done.err
    assert not (tmp_path / "out").exists() or names(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nosuch", "-o", "out"], "nosuch: no such folder"),
        (["a.jpg", "-o", "out"], "a.jpg: is a file; --watch takes folders"),
        (["in"], "--watch: needs a folder for the results that is not watched; give it with --output"),
        (["in", "-o", "in"], "--output in: is watched itself; choose another folder"),
        (["in", "-o", "out", "--shard", "1/2"], "--watch and --shard: contradict each other"),
        (["-"], "-: no such folder"),
    ],
)
def test_what_cannot_be_watched_is_one_line(words, line, separate, inbox, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photo(tmp_path / "a.jpg")
    done = separate(*words, "--watch")
    assert done.code == 2
    assert len(done.lines) == 1
    assert line in done.err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no terminate signal")
def test_the_terminate_signal_ends_it_cleanly(inbox, tmp_path, model_folder):
    photo(inbox / "one.jpg")
    words = ["separate", str(inbox), "-o", str(tmp_path / "out"), "--watch", "--model", str(model_folder)]
    command = [sys.executable, "-m", "dereflect", *words, "--device", "cpu"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        said = []
        for line in process.stderr:
            said.append(line)
            if "one.jpg: " in line:
                process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, "".join(said)
    assert "1 photo separated" in said[-1]
    assert names(tmp_path / "out") == ["one_reflection.jpg", "one_transmission.jpg"]
    shutil.rmtree(inbox)


def test_a_folder_that_cannot_be_read_is_said_once(tmp_path):
    from dereflect.cli.watching import WatchedFolders
    from dereflect.errors import InputError

    said: list[str] = []
    broken = Found(errors=[InputError("in/private", "Permission denied")])
    looking = WatchedFolders([str(tmp_path)], lambda folders: broken, Arrivals(), said.append)
    assert looking.look() == looking.look() == []
    assert said == ["in/private: Permission denied"]

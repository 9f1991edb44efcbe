"""What other programs rely on: progress as JSON, runs that they can stop, exit codes that the help tells."""

import json
import subprocess
import sys
import time

from command_line import names, photo

from dereflect.separator import Separator


def progress(ran) -> list[tuple[float, str | None]]:
    lines = [json.loads(line) for line in ran.lines if line.startswith("{")]
    return [(line["progress"], line["photo"]) for line in lines]


def test_progress_goes_from_0_to_1_over_the_photos(separate, tmp_path):
    first, second = photo(tmp_path / "a.png"), photo(tmp_path / "b.png")
    done = separate(first, tmp_path / "missing.png", second, "-o", tmp_path / "out", "--progress", "json")
    assert done.code == 1
    assert progress(done) == [
        (0.0, None),
        (0.0, str(first)),
        (0.5, str(first)),
        (0.5, str(second)),
        (1.0, str(second)),
    ]


def test_progress_tells_of_steps_within_a_photo(separate, tmp_path):
    only = photo(tmp_path / "a.png")
    done = separate(only, "-o", tmp_path / "out", "--progress", "json", "--quality", "best", "--quiet")
    shares = [share for share, _ in progress(done)]
    assert shares == sorted(shares)
    assert len([share for share in shares if 0 < share < 1]) >= 2
    assert len(progress(done)) == len(done.lines), "with --quiet there is nothing else"


def test_a_run_stops_once_its_file_is_gone(separate, tmp_path, monkeypatch):
    photos, mark = [photo(tmp_path / f"{name}.png") for name in "abc"], tmp_path / "mark"
    mark.touch()
    real, calls = Separator.__call__, []

    def remove_at_second(self, *arguments, **keywords):
        calls.append(1)
        if len(calls) == 2:
            mark.unlink()
            for _ in range(1000):  # interrupted long before the end
                time.sleep(0.01)
        return real(self, *arguments, **keywords)

    monkeypatch.setattr(Separator, "__call__", remove_at_second)
    done = separate(*photos, "-o", tmp_path / "out", "--while", mark)
    assert done.code == 130
    assert "1 of 3 photos were separated" in done.err
    assert names(tmp_path / "out") == ["a_reflection.png", "a_transmission.png"]


def test_a_run_goes_to_its_end_while_its_file_is_there(separate, tmp_path):
    mark = photo(tmp_path / "mark.png")
    assert separate(photo(tmp_path / "a.png"), "-o", tmp_path / "out", "--while", mark).code == 0


def test_a_run_stops_at_the_end_of_standard_input(model_folder, tmp_path):
    for number in range(300):
        photo(tmp_path / "in" / f"{number:03}.png")
    words = [tmp_path / "in", "-o", tmp_path / "out", "--model", model_folder, "--device", "cpu"]
    words = [sys.executable, "-m", "dereflect", "separate", *words, "--while", "-", "--progress", "json"]
    if sys.platform != "win32":
        words = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", *words]  # as in a shell's background
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("{") and json.loads(line)["progress"] > 0:
            break
    process.stdin.close()
    assert "stopped" in process.stderr.read()
    assert process.wait(60) == 130
    written = names(tmp_path / "out")
    assert 2 <= len(written) < 600
    assert not [name for name in written if name.startswith(".")], "something half-written"


def test_what_to_watch_must_be_there_and_not_be_the_photo(separate, tmp_path):
    a = photo(tmp_path / "a.png")
    done = separate(a, "--while", tmp_path / "nowhere")
    assert (done.code, done.lines) == (2, [f"dereflect: --while {tmp_path / 'nowhere'}: no such file"])
    assert separate("-", "--while", "-").lines == [
        "dereflect: --while -: the photo comes by standard input; give a file"
    ]


def test_the_help_tells_the_exit_codes(dereflect, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    said = " ".join(dereflect("separate", "--help").out.split())
    assert "Exit code: 0 all done, 1 some photos failed, 2 none was done, 130 stopped." in said

"""`dereflect separate` on what people give it, with a tiny model of the default family."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import names, photo
from PIL import Image

from dereflect.methods.default.method import DefaultMethod
from dereflect.methods.default.network import DefaultConfig


def test_a_photo_gets_both_layers_beside_it(separate, tmp_path):
    photo(tmp_path / "window.jpg")
    done = separate(tmp_path / "window.jpg")
    assert done.code == 0, done.err
    assert names(tmp_path) == ["window.jpg", "window_reflection.jpg", "window_transmission.jpg"]
    assert Image.open(tmp_path / "window_transmission.jpg").size == (48, 33)
    assert "running on cpu in" in done.err
    assert done.out == ""


def test_a_photo_without_a_reflection_is_called_so(separate, model_folder, tmp_path):
    Image.new("RGB", (64, 64), (90, 90, 90)).save(tmp_path / "a.png")  # a fresh model changes next to nothing
    done = separate(tmp_path / "a.png", "-o", tmp_path / "one")
    assert f"{tmp_path / 'a.png'}: no reflection found, " in done.err
    loud = separate(tmp_path / "a.png", "-o", tmp_path / "two", "-v", "--json")
    assert f"{tmp_path / 'a.png'}: no reflection found, 64 x 64, whole" in loud.err
    assert "1 photo separated" in loud.lines[-1]
    assert "in 1 of them no reflection found" in loud.lines[-1]
    assert json.loads(loud.out)["reflection_found"] is False


def test_a_photo_with_a_reflection_is_not_called_without(dereflect, tmp_path):
    method = DefaultMethod(DefaultConfig(widths=(8, 8, 8), head_width=8, encoder=""))
    for layer in method.network.out:
        layer.bias.data.fill_(0.5)
    method.save_pretrained(tmp_path / "model")
    photo(tmp_path / "a.png")
    done = dereflect("separate", tmp_path / "a.png", "--model", tmp_path / "model", "--json", "-v")
    assert done.code == 0
    assert "no reflection found" not in done.err
    assert json.loads(done.out)["reflection_found"] is True


def test_a_folder_s_tree_is_mirrored(separate, tmp_path):
    photo(tmp_path / "in" / "a.jpg")
    photo(tmp_path / "in" / "one" / "b.PNG")
    photo(tmp_path / "in" / "one" / "two" / "c.webp")
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    flat = separate(tmp_path / "in", "-o", tmp_path / "flat")
    assert flat.code == 0
    assert names(tmp_path / "flat") == ["a_reflection.jpg", "a_transmission.jpg"]
    assert "1 file skipped (not an image)" in flat.err
    assert separate(tmp_path / "in", "-r", "-o", tmp_path / "out", "--layers", "transmission").code == 0
    assert names(tmp_path / "out") == [
        "a_transmission.jpg",
        str(Path("one", "b_transmission.PNG")),
        str(Path("one", "two", "c_transmission.webp")),
    ]


def test_patterns_are_followed_where_the_shell_has_not(separate, tmp_path):
    for name in ("a.png", "b.png", "c.jpg"):
        photo(tmp_path / name)
    assert separate(tmp_path / "*.png", "-o", tmp_path / "out", "--layers", "reflection").code == 0
    assert names(tmp_path / "out") == ["a_reflection.png", "b_reflection.png"]
    none = separate(tmp_path / "*.tiff")
    assert none.code == 2
    assert "no file matches this pattern" in none.err


def test_a_name_that_looks_like_a_pattern_is_a_name_first(separate, tmp_path):
    photo(tmp_path / "photo[1].png")
    assert separate(tmp_path / "photo[1].png", "-o", tmp_path / "out").code == 0
    assert "photo[1]_transmission.png" in names(tmp_path / "out")


def test_formats_and_side_by_side(separate, tmp_path):
    photo(tmp_path / "a.jpg", quality=95)
    for name, suffix in (("png", ".png"), ("jpg", ".jpg"), ("tiff", ".tiff"), ("webp", ".webp")):
        assert (
            separate(tmp_path / "a.jpg", "-o", tmp_path / name, "--format", name, "--side-by-side").code == 0
        )
        assert names(tmp_path / name) == [
            f"a_{layer}{suffix}" for layer in ("reflection", "side_by_side", "transmission")
        ]
        assert Image.open(tmp_path / name / f"a_side_by_side{suffix}").size == (3 * 48, 33)


def test_nothing_is_overwritten_without_the_word(separate, tmp_path):
    photo(tmp_path / "a.png")
    assert separate(tmp_path / "a.png", "-o", tmp_path / "out").code == 0
    mine = tmp_path / "out" / "a_transmission.png"
    mine.write_bytes(b"mine")
    refused = separate(tmp_path / "a.png", "-o", tmp_path / "out")
    assert refused.code == 2
    assert "exists already; --overwrite replaces it, --skip-existing skips it" in refused.err
    assert mine.read_bytes() == b"mine"
    skipped = separate(tmp_path / "a.png", "-o", tmp_path / "out", "--skip-existing")
    assert skipped.code == 0
    assert "1 skipped" in skipped.err
    assert mine.read_bytes() == b"mine"
    assert separate(tmp_path / "a.png", "-o", tmp_path / "out", "--overwrite").code == 0
    assert mine.read_bytes() != b"mine"
    assert separate(tmp_path / "a.png", "--overwrite", "--skip-existing").code == 2


def test_skip_existing_completes_what_is_half_there(separate, tmp_path):
    photo(tmp_path / "a.png")
    assert separate(tmp_path / "a.png", "-o", tmp_path, "--layers", "transmission").code == 0
    assert separate(tmp_path / "a.png", "-o", tmp_path, "--skip-existing").code == 0
    assert "a_reflection.png" in names(tmp_path)


def test_a_second_run_skips_the_outputs_of_the_first(separate, tmp_path):
    photo(tmp_path / "a.png")
    assert separate(tmp_path).code == 0
    again = separate(tmp_path, "--skip-existing")
    assert again.code == 0
    assert "2 earlier outputs skipped" in again.err
    assert len(names(tmp_path)) == 3


def test_an_output_that_is_itself_an_input_is_refused(separate, tmp_path):
    photo(tmp_path / "a.png")
    other = photo(tmp_path / "a_transmission.png", seed=1)
    content = other.read_bytes()
    done = separate(tmp_path / "a.png", other, "--overwrite")
    assert done.code == 1
    assert "is itself one of the inputs" in done.err
    assert other.read_bytes() == content


def test_two_photos_with_one_output_name_are_an_error_that_names_both(separate, tmp_path):
    first, second = photo(tmp_path / "one" / "a.png"), photo(tmp_path / "two" / "a.png", seed=1)
    done = separate(first, second, "-o", tmp_path / "out")
    assert done.code == 1
    line = next(line for line in done.lines if "would be the same" in line)
    assert str(first) in line
    assert str(second) in line
    assert len(names(tmp_path / "out")) == 2


def test_json_says_one_line_a_photo(separate, tmp_path):
    photo(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no picture")
    done = separate(tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "out", "--json", "-q")
    assert done.code == 1
    good, bad = map(json.loads, done.out.splitlines())
    assert good["status"] == "separated"
    assert Path(good["transmission"]).is_file()
    assert (good["width"], good["height"], good["how"], good["model"]) == (48, 33, "whole", "tiny")
    assert bad["status"] == "failed"
    assert bad["input"] == str(tmp_path / "b.png")
    assert bad["option"] is None
    assert "picture" in bad["error"]


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["--set", "nothing=3"], "--set nothing"),
        (["--shard", "5/2"], "--shard"),
        (["--overwrite", "--skip-existing"], None),
    ],
    ids=str,
)
def test_json_names_the_option_at_fault_of_a_whole_run(separate, tmp_path, words, option):
    photo(tmp_path / "a.png")
    done = separate(tmp_path / "a.png", "-o", tmp_path / "out", "--json", *words)
    assert done.code == 2
    (told,) = map(json.loads, done.out.splitlines())
    assert (told["input"], told["status"], told["option"]) == (None, "failed", option)
    assert done.lines[-1] == f"dereflect: {told['error']}"


def test_json_names_the_option_at_fault_of_a_photo(separate, tmp_path):
    photo(tmp_path / "a.png")
    Image.new("L", (90, 10)).save(tmp_path / "mask.png")
    done = separate(tmp_path / "a.png", "-o", tmp_path / "out", "--json", "--mask", tmp_path / "mask.png")
    (told,) = map(json.loads, done.out.splitlines())
    assert (told["input"], told["option"]) == (str(tmp_path / "a.png"), "--mask")


def test_quiet_says_nothing_and_verbose_says_how(separate, tmp_path):
    photo(tmp_path / "a.png")
    assert separate(tmp_path / "a.png", "-q").err == ""
    loud = separate(tmp_path / "a.png", "-v", "--overwrite", "--max-size", "40")
    assert "48 x 33, fitted at 40 x 28" in loud.err


def test_shards_share_the_photos_out(separate, tmp_path):
    for index in range(5):
        photo(tmp_path / "in" / f"{index}.png", seed=index)
    for shard in ("1/2", "2/2"):
        assert (
            separate(tmp_path / "in", "-o", tmp_path / "out", "--shard", shard, "--layers", "reflection").code
            == 0
        )
    assert names(tmp_path / "out") == [f"{index}_reflection.png" for index in range(5)]
    for wrong in ("0/2", "3/2", "1", "a/b"):
        assert "--shard" in separate(tmp_path / "in", "--shard", wrong).err


def test_strength_zero_gives_the_photo_back(separate, tmp_path):
    path = photo(tmp_path / "a.png")
    assert separate(path, "--strength", "0").code == 0
    assert np.array_equal(
        np.asarray(Image.open(tmp_path / "a_transmission.png")), np.asarray(Image.open(path))
    )


def test_a_mask_of_another_size_is_refused(separate, tmp_path):
    Image.new("L", (5, 5)).save(tmp_path / "mask.png")
    done = separate(photo(tmp_path / "a.png"), "--mask", tmp_path / "mask.png")
    assert done.code == 2
    assert "mask: is 5 x 5" in done.err


def test_strokes_change_the_result_and_bad_ones_are_refused_in_one_line(dereflect, tmp_path):
    method = DefaultMethod(DefaultConfig(widths=(8, 8, 8), head_width=8, encoder=""))
    method.network.out[0].bias.data.fill_(-0.2)
    method.save_pretrained(tmp_path / "model")
    path, drawn = photo(tmp_path / "a.png"), tmp_path / "strokes.png"
    plain = tmp_path / "plain"
    assert dereflect("separate", path, "--model", tmp_path / "model", "-o", plain).code == 0
    strokes = np.zeros((*np.asarray(Image.open(path)).shape[:2], 4), np.uint8)
    strokes[5:9, 5:20] = (0, 0, 255, 255)
    Image.fromarray(strokes).save(drawn)
    assert dereflect("separate", path, "--model", tmp_path / "model", "--strokes", drawn).code == 0
    found, before, seen = (
        np.asarray(Image.open(one)).astype(int)
        for one in (tmp_path / "a_transmission.png", plain / "a_transmission.png", path)
    )
    marked = np.s_[5:9, 5:20]
    assert np.abs(found - seen)[marked].mean() < np.abs(before - seen)[marked].mean() / 2  # scene comes back
    for array, words in (
        (strokes[:, :5], "--strokes: is 5 x "),
        (strokes[..., :3], "--strokes: has no transparency"),
        (np.full_like(strokes, 255), "--strokes: the colour #ffffff at "),
    ):
        Image.fromarray(array).save(drawn)
        done = dereflect("separate", path, "--strokes", drawn, "--overwrite", "--model", tmp_path / "model")
        assert done.code == 2
        assert words in done.err


def test_metadata_is_kept_and_can_be_stripped(separate, tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    photo(tmp_path / "a.jpg", exif=exif.tobytes(), dpi=(300, 300))
    assert separate(tmp_path / "a.jpg", "-o", tmp_path / "kept").code == 0
    assert separate(tmp_path / "a.jpg", "-o", tmp_path / "stripped", "--strip-metadata").code == 0
    for layer in ("transmission", "reflection"):
        kept = Image.open(tmp_path / "kept" / f"a_{layer}.jpg")
        assert kept.getexif()[0x010F] == "Maker"
        assert kept.info["dpi"] == (300, 300)
        stripped = Image.open(tmp_path / "stripped" / f"a_{layer}.jpg")
        assert not stripped.getexif()


def test_settings_of_other_methods_are_refused(separate, tmp_path):
    done = separate(photo(tmp_path / "a.png"), "--set", "steps=5")
    assert done.code == 2
    assert "steps" in done.err


def test_standard_input_goes_to_standard_output(model_folder, tmp_path):
    content = photo(tmp_path / "a.png").read_bytes()
    words = [
        sys.executable,
        "-m",
        "dereflect",
        "separate",
        "-",
        "--model",
        str(model_folder),
        "--device",
        "cpu",
    ]
    done = subprocess.run(words, input=content, capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    image = Image.open(io.BytesIO(done.stdout))
    assert (image.format, image.size) == ("PNG", (48, 33))
    reflection = subprocess.run(
        [*words, "--layers", "reflection"], input=content, capture_output=True, timeout=120, check=False
    )
    assert reflection.stdout != done.stdout
    empty = subprocess.run(words, input=b"", capture_output=True, timeout=120, check=False)
    assert empty.returncode == 2
    assert empty.stderr.decode().strip().endswith("-: standard input is empty")


def test_pipes_that_make_no_sense_are_refused(separate, tmp_path):
    assert separate("-", photo(tmp_path / "a.png")).code == 2
    assert separate("-", "--layers", "both").code == 2


def feed(monkeypatch, path) -> None:
    """Give a file by standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))


def test_a_photo_from_a_pipe_is_skipped_where_its_outputs_are_there(separate, tmp_path, monkeypatch):
    path, out = photo(tmp_path / "a.png"), tmp_path / "out"
    feed(monkeypatch, path)
    assert separate("-", "-o", out).code == 0
    assert names(out) == ["picture_reflection.png", "picture_transmission.png"]
    (out / "picture_reflection.png").unlink()
    (out / "picture_transmission.png").write_bytes(b"mine")
    for _ in range(2):  # the one that is missing, then none
        feed(monkeypatch, path)
        assert separate("-", "-o", out, "--skip-existing").code == 0
        assert (out / "picture_transmission.png").read_bytes() == b"mine"
        assert Image.open(out / "picture_reflection.png").size == (48, 33)
    feed(monkeypatch, path)
    done = separate("-", "-o", out)
    assert done.code == 2
    assert "exists already; --overwrite replaces it, --skip-existing skips it" in done.err


def test_a_photo_from_a_pipe_has_progress_and_notes(separate, tmp_path, monkeypatch):
    path = photo(tmp_path / "a.jpg", comment="mine")
    feed(monkeypatch, path)
    done = separate("-", "-o", tmp_path / "out", "--format", "webp", "--progress", "json")
    told = [json.loads(line) for line in done.lines if line.startswith("{")]
    assert [line["progress"] for line in told] == [0, 0, 1]
    assert told[-1]["photo"] == "-"
    assert "-: its comment cannot be kept in WEBP" in done.lines


def test_verbose_says_how_a_photo_from_a_pipe_was_run(separate, tmp_path, monkeypatch):
    feed(monkeypatch, photo(tmp_path / "a.png"))
    [line] = separate("-", "-o", tmp_path / "out", "-v").lines
    assert re.match(r"-: .*48 x 33, whole, [\d.]+ s to separate", line)


def test_quiet_leaves_notes_out(separate, tmp_path):
    path = photo(tmp_path / "a.jpg", comment="mine")
    assert "cannot be kept" in separate(path, "-o", tmp_path / "one", "--format", "webp").err
    done = separate(path, "-o", tmp_path / "two", "--format", "webp", "--quiet", "--json")
    assert done.err == ""
    assert "cannot be kept" in json.loads(done.out)["notes"][0]


def test_same_input_same_bytes(separate, tmp_path):
    photo(tmp_path / "a.jpg")
    for name in ("one", "two"):
        assert separate(tmp_path / "a.jpg", "-o", tmp_path / name).code == 0
    for name in names(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_odd_file_names_work(separate, tmp_path):
    for name in ("mit Leerzeichen.png", "日本語 ümlaut.png", "-dash.png", "x" * 230 + ".png"):
        photo(tmp_path / "in" / name)
    done = separate(tmp_path / "in", "-o", tmp_path / "out")
    assert done.code == 0, done.err
    assert len(names(tmp_path / "out")) == 8


@pytest.mark.skipif(sys.platform == "win32", reason="names are text on Windows")
def test_a_name_that_is_no_text_works(model_folder, tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"\xff\xfe.png")
    with open(path, "wb") as file:
        file.write(photo(tmp_path / "a.png").read_bytes())
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "dereflect",
            "separate",
            path,
            "--model",
            str(model_folder),
            "--device",
            "cpu",
        ],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert os.path.exists(os.path.join(os.fsencode(tmp_path), b"\xff\xfe_transmission.png"))

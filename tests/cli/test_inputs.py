"""What runs have written is not taken for photos, and odd names and folders are followed or noted."""

import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from dereflect.cli.inputs import find_photos
from dereflect.cli.watching import check_watch
from dereflect.errors import InputError
from dereflect.outputs import OUTPUT_ENDINGS

ON_UNIX = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes need Unix")


def photo(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)
    return path


def found(*words: object, **settings) -> list[str]:
    return sorted(photo.path.name for photo in find_photos([str(word) for word in words], **settings).photos)


@pytest.fixture
def holiday(tmp_path: Path) -> Path:
    """A folder with photos and, two folders down, the outputs of an earlier run."""
    folder = tmp_path / "holiday"
    for name in ("a.jpg", "sub/b.jpg", "sub/out/a_transmission.jpg", "sub/out/sub/b_reflection.jpg"):
        photo(folder / name)
    return folder


def test_the_output_folder_inside_the_input_is_passed_over(holiday):
    assert found(holiday, recursive=True, output=holiday / "sub" / "out") == ["a.jpg", "b.jpg"]
    assert find_photos([str(holiday)], True, output=holiday / "sub" / "out").own_folders == 1


@pytest.mark.parametrize(
    "spelling", ["holiday/../holiday/sub/out", "holiday/sub/./out/", "./holiday//sub/out"]
)
def test_however_it_is_spelled(holiday, monkeypatch, spelling):
    monkeypatch.chdir(holiday.parent)
    assert found(holiday, recursive=True, output=Path(spelling)) == ["a.jpg", "b.jpg"]


@ON_UNIX
def test_links_to_the_output_or_the_input(holiday, tmp_path):
    (tmp_path / "to_out").symlink_to(holiday / "sub" / "out")
    (tmp_path / "to_in").symlink_to(holiday)
    assert found(holiday, recursive=True, output=tmp_path / "to_out") == ["a.jpg", "b.jpg"]
    assert found(tmp_path / "to_in", recursive=True, output=holiday / "sub" / "out") == ["a.jpg", "b.jpg"]


def test_another_case_where_the_file_system_folds_it(holiday):
    other = Path(str(holiday / "sub" / "out").replace("holiday", "HOLIDAY"))
    if not other.exists():
        pytest.skip("this file system keeps cases apart")
    assert found(holiday, recursive=True, output=other) == ["a.jpg", "b.jpg"]


def test_words_of_a_shell_that_name_the_output_folder_too(holiday):
    out = holiday / "sub" / "out"
    words = [holiday / "a.jpg", holiday / "sub" / "b.jpg", out]
    assert found(*words, output=out) == ["a.jpg", "b.jpg"]
    words = [*words[:2], out / "a_transmission.jpg", out / "sub" / "b_reflection.jpg"]
    assert found(*words, output=out) == ["a.jpg", "b.jpg"]
    assert found(holiday / "**" / "*.jpg", output=out) == ["a.jpg", "b.jpg"]


def test_outputs_beside_photos_are_passed_over_in_folders_patterns_and_words(tmp_path):
    photo(tmp_path / "a.jpg")
    for ending in OUTPUT_ENDINGS:
        photo(tmp_path / f"a{ending}.png")
    photo(tmp_path / "b_transmission.jpg")  # of no photo that is here
    assert found(tmp_path) == ["a.jpg", "b_transmission.jpg"]
    assert found(tmp_path / "*.*") == ["a.jpg", "b_transmission.jpg"]
    assert found(*sorted(tmp_path.iterdir())) == ["a.jpg", "b_transmission.jpg"]


def test_a_word_of_its_own_is_taken_as_it_is(tmp_path):
    photo(tmp_path / "a.jpg")
    output = photo(tmp_path / "a_transmission.jpg")
    assert found(output) == ["a_transmission.jpg"]
    assert found(tmp_path / "a.jpg", output, overwrite=True) == ["a.jpg", "a_transmission.jpg"]


def test_the_output_folder_alone_is_an_input_like_any_other(holiday):
    out = holiday / "sub" / "out"
    assert found(out, output=out) == ["a_transmission.jpg"]


def test_a_result_that_is_named_alone_is_taken_wherever_it_lies(holiday):
    out = holiday / "sub" / "out"
    assert found(out / "a_transmission.jpg", output=out) == ["a_transmission.jpg"]


def test_destinations_of_batches_are_passed_over(holiday):
    (holiday / "sub" / "out" / "_dereflect" / "manifest").mkdir(parents=True)
    assert found(holiday, recursive=True) == ["a.jpg", "b.jpg"]


def test_the_endings_are_those_that_are_written():
    from dereflect.methods.contract import Method
    from dereflect.methods.diffrs import method as _  # noqa: F401 - the one with heat maps

    def kinds(kind: type) -> list[type]:
        return [kind, *(found for child in kind.__subclasses__() for found in kinds(child))]

    written = {"transmission", "reflection", "side_by_side"}.union(
        *(kind.explanations for kind in kinds(Method) if kind.__module__.startswith("dereflect."))
    )
    assert len(written) > 3
    assert {f"_{name}" for name in written} == set(OUTPUT_ENDINGS)


@ON_UNIX
def test_a_pipe_named_as_a_photo_is_no_photo(tmp_path):
    photo(tmp_path / "a.jpg")
    os.mkfifo(tmp_path / "b.jpg")
    searched = find_photos([str(tmp_path)])
    assert [photo.path.name for photo in searched.photos] == ["a.jpg"]
    assert searched.others == 1


def test_a_folder_that_cannot_be_read_is_noted(holiday, monkeypatch):
    real = os.scandir

    def scandir(path):
        if os.fspath(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    searched = find_photos([str(holiday)], recursive=True)
    assert [photo.path.name for photo in searched.photos] == ["a.jpg"]
    assert [str(error) for error in searched.errors] == [f"{holiday / 'sub'}: Permission denied"]


@ON_UNIX
def test_a_pipe_given_by_name_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "b.jpg")
    searched = find_photos([str(tmp_path / "b.jpg")])
    assert searched.photos == []
    assert [str(error) for error in searched.errors] == [
        f"{tmp_path / 'b.jpg'}: is neither a file nor a folder; give a photo from a pipe as -"
    ]


def test_an_empty_word_is_not_the_current_folder(tmp_path, monkeypatch):
    photo(tmp_path / "a.jpg")
    monkeypatch.chdir(tmp_path)
    searched = find_photos(["", "a.jpg"])
    assert [photo.path.name for photo in searched.photos] == ["a.jpg"]
    assert [str(error) for error in searched.errors] == [
        "INPUT: is an empty word; give a photo, a folder or a pattern"
    ]
    with pytest.raises(InputError, match="is an empty word"):
        check_watch([""], tmp_path / "out", None)

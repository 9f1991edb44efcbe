import os

import pytest

from dereflect.errors import InputError
from dereflect.files import writing


def test_a_file_appears_whole_and_alone(tmp_path):
    target = tmp_path / "deep" / "a.txt"
    with writing(target) as temporary:
        temporary.write_text("new")
        assert temporary.parent == target.parent
        assert not target.exists()
    assert target.read_text() == "new"
    assert os.listdir(target.parent) == ["a.txt"]


def write_half(target, fault):
    with writing(target) as temporary:
        temporary.write_text("half")
        raise fault


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt])
def test_after_a_failure_all_is_as_before(tmp_path, fault):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(fault):
        write_half(target, fault)
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_fault_of_the_disk_names_the_file(tmp_path):
    with (
        pytest.raises(InputError, match=r"a\.txt: cannot be written \(No space left"),
        writing(tmp_path / "a.txt"),
    ):
        raise OSError(28, "No space left on device")
    with pytest.raises(InputError, match="cannot be written"), writing(tmp_path / "a.txt"):
        pass  # nothing was made
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"), writing(tmp_path / "file" / "a.txt"):
        pytest.fail("must not come here")


def write_late(target):
    with writing(target, overwrite=False) as temporary:
        temporary.write_text("late")
        target.write_text("early")  # another program was quicker


def test_what_is_there_stays_where_it_must_not_be_replaced(tmp_path):
    target = tmp_path / "a.txt"
    with pytest.raises(FileExistsError):
        write_late(target)
    with pytest.raises(FileExistsError), writing(target, overwrite=False):
        pytest.fail("must not come here")
    assert target.read_text() == "early"
    assert os.listdir(tmp_path) == ["a.txt"]


def write_folder(target, name, fault=None):
    with writing(target) as temporary:
        temporary.mkdir()
        (temporary / name).touch()
        if fault:
            raise fault


def test_a_folder_replaces_a_folder_as_a_whole(tmp_path):
    target = tmp_path / "model"
    write_folder(target, "one")
    write_folder(target, "two")
    assert os.listdir(target) == ["two"]
    with pytest.raises(ValueError, match="cut"):
        write_folder(target, "three", ValueError("cut"))
    assert os.listdir(target) == ["two"]
    assert os.listdir(tmp_path) == ["model"]

import pytest
from PIL import Image

from dereflect.data.known_sets import LAYOUTS
from dereflect.data.layouts import check_folder, find_data_sets, read_data_set, recognise
from dereflect.errors import InputError


def write(path, size=(20, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


def plain(folder, names=("1", "2"), reflection=False):
    for name in names:
        for place in ("blended", "transmission_layer", *(["reflection_layer"] if reflection else [])):
            write(folder / place / f"{name}.png")
    return folder


def test_sets_are_recognised_by_their_folder_however_it_is_written(tmp_path):
    for name, expected in (
        ("real20_420", "real20"),
        ("Real20", "real20"),
        ("SolidObjectDataset", "sir2-objects"),
        ("WildSceneDataset", "sir2-wild"),
        ("testdata_CEILNET_table2", "ceilnet-synthetic"),
        ("NightIRS", "nightirs"),
    ):
        assert recognise(tmp_path / name).name == expected
    assert recognise(tmp_path / "holiday") is None
    aliases = [alias for layout in LAYOUTS.values() for alias in layout.aliases]
    assert len(aliases) == len(set(aliases))


def test_known_faults_are_said(tmp_path):
    found = read_data_set(plain(tmp_path / "real89", [str(n) for n in range(3)]))
    assert "3 pictures here, 89 in the published set" in found.notes
    assert any("papers say 90 pairs" in note for note in found.notes)
    found = read_data_set(plain(tmp_path / "WildSceneDataset"))
    assert any("no reflection_layer here" in note for note in found.notes)
    assert read_data_set(plain(tmp_path / "mine")).notes == []


def test_a_published_set_that_differs_by_a_pixel_is_cut_and_said_but_a_strangers_is_refused(tmp_path):
    for name in ("real20", "mine"):
        plain(tmp_path / name)
        write(tmp_path / name / "transmission_layer" / "2.png", (21, 16))
    found = read_data_set(tmp_path / "real20")
    assert found.cut_to_common
    assert any("differ in size by a pixel or two and are cut: 2" in note for note in found.notes)
    with pytest.raises(InputError, match=r"2\.png: sizes of this pair differ \(20x16, 21x16\)"):
        read_data_set(tmp_path / "mine")
    write(tmp_path / "real20" / "transmission_layer" / "2.png", (30, 16))
    with pytest.raises(InputError, match="sizes of this pair differ"):
        read_data_set(tmp_path / "real20")


def test_ceilnet_names_in_one_folder(tmp_path):
    folder = tmp_path / "testdata_CEILNET_table2"
    for number in (2, 10):
        for kind in ("input", "label1", "label2"):
            write(folder / f"{number}-{kind}.png")
    pairs = read_data_set(folder).pairs
    assert [pair.name for pair in pairs] == ["2", "10"]
    assert pairs[0].transmission.name == "2-label1.png"
    assert pairs[0].reflection.name == "2-label2.png"


def test_sir2_names_in_folders_a_scene(tmp_path):
    folder = tmp_path / "WildSceneDataset"
    for scene in ("2", "11"):
        for kind in "mgr":
            write(folder / "withgt" / scene / f"{kind}.jpg")
    write(folder / "notes" / "program.jpg")  # ends in m, but is no mixture
    pairs = read_data_set(folder).pairs
    assert [pair.name for pair in pairs] == ["withgt-2", "withgt-11"]
    assert pairs[1].reflection.name == "r.jpg"


def test_sets_are_found_below_a_folder(tmp_path):
    plain(tmp_path / "sir2" / "PostcardDataset", reflection=True)
    plain(tmp_path / "Nature")
    assert [found.name for found in find_data_sets(tmp_path)] == ["nature", "sir2-postcard"]
    with pytest.raises(InputError, match="no pairs found"):
        find_data_sets(tmp_path / "sir2" / "PostcardDataset" / "blended")
    write(tmp_path / "real45" / "1.jpg")
    with pytest.raises(InputError, match="nothing to measure"):
        find_data_sets(tmp_path / "real45")
    with pytest.raises(InputError, match="no such folder"):
        find_data_sets(tmp_path / "nowhere")


def test_check_goes_on_after_a_fault(tmp_path):
    plain(tmp_path / "a")
    plain(tmp_path / "b")
    (tmp_path / "a" / "transmission_layer" / "1.png").unlink()
    for name in ("1.jpg", "2.jpg"):
        write(tmp_path / "real45" / name)
    found = check_folder(tmp_path)
    assert [item.name for item in found.usable] == ["b"]
    assert len(found.faults) == 1
    assert "1.png: has no partner" in found.faults[0]
    assert [(path.name, layout.name, count) for path, layout, count in found.to_look_at] == [
        ("real45", "real45", 2)
    ]
    assert check_folder(tmp_path / "real45").faults == []

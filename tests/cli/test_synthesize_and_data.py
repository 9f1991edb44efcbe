import numpy as np
import pytest
from command_line import invoke
from PIL import Image

from dereflect.errors import InputError


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((48, 40)).save(folder / f"{number}.png")
    return folder


def test_triplets_are_made_and_made_again_from_the_record(dereflect, photos, tmp_path):
    sources = ["--transmission", photos, "--reflection", photos]
    done = invoke(
        "synthesize", *sources, "-n", 2, "-o", tmp_path / "a", "--preset", "night", "--contact-sheet"
    )
    assert "2 triplets" in done.output
    assert (tmp_path / "a" / "contact_sheet.jpg").is_file()
    invoke("synthesize", "--record", tmp_path / "a" / "record.jsonl", "-o", tmp_path / "b", "-q")
    for path in (tmp_path / "a").rglob("*.png"):
        again = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert again.read_bytes() == path.read_bytes()
    refused = dereflect("synthesize", *sources, "-n", 2, "-o", tmp_path / "a")
    assert refused.code == 2
    assert "holds triplets already; --overwrite replaces those of the same number" in refused.lines[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--transmission and --reflection"),
        (["--preset", "dusk"], "--preset dusk: one of day, night"),
        (["--transmission", "nowhere", "--reflection", "nowhere"], "nowhere: no such folder"),
        (
            ["--transmission", "nowhere", "--reflection", "nowhere", "--model", "x"],
            "--model x: unknown; one of ceilnet",
        ),
        (["--record", "nowhere"], "nowhere: not a synthesis record"),
    ],
)
def test_faults_are_one_line(dereflect, tmp_path, options, message):
    done = dereflect("synthesize", "-o", tmp_path / "out", *options)
    assert (done.code, len(done.lines)) == (2, 1)
    assert message in done.lines[0]


def test_data_lists_the_sets_and_checks_a_folder(photos, tmp_path):
    listed = invoke("data").output
    assert "real20: " in listed
    assert "papers say 90 pairs" in listed
    for place in ("blended", "transmission_layer"):
        (tmp_path / "sets" / "nature" / place).mkdir(parents=True)
        for path in photos.iterdir():
            (tmp_path / "sets" / "nature" / place / path.name).write_bytes(path.read_bytes())
    checked = invoke("data", "check", tmp_path / "sets").output
    assert "3 pictures with true T" in checked
    assert "3 pictures here, 20 in the published set" in checked
    assert "not there: real20, offered by" in checked
    (tmp_path / "sets" / "nature" / "blended" / "0.png").unlink()
    with pytest.raises(InputError, match="0 data sets usable, 1 with faults"):
        invoke("data", "check", tmp_path / "sets")


def test_the_archive_of_sets_is_fetched_with_consent_alone(dereflect, tmp_path, monkeypatch):
    monkeypatch.setenv("DEREFLECT_CACHE", str(tmp_path / "cache"))
    done = dereflect("data", "download", "sirs", "-o", tmp_path / "sets")
    assert (done.code, len(done.lines)) == (2, 1)
    assert "sirs: this would fetch and unpack https://" in done.lines[0]
    assert done.lines[0].endswith("give --yes to agree")

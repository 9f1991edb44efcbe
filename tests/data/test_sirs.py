"""The archive of the field's sets: its download, its place in folders, and archives that are refused."""

import http.server
import io
import stat
import threading
import zipfile

import pytest
from PIL import Image

from dereflect.data import unpacking
from dereflect.data.layouts import find_data_sets
from dereflect.data.sirs import download_sirs
from dereflect.data.unpacking import unpack
from dereflect.errors import InputError, ModelError


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3)).save(buffer, "PNG")
    return buffer.getvalue()


def pairs(folder: str, count: int) -> dict[str, bytes]:
    layers = ("blended", "transmission_layer")
    return {f"{folder}/{layer}/{number}.png": png() for layer in layers for number in range(count)}


def content() -> dict[str, bytes]:
    """A small archive as we imagine the published one."""
    scene = "sirs/test/SIR2/WildSceneDataset/1"
    return {
        **{f"sirs/train/VOC2012/PNGImages/{number}.png": png() for number in range(100)},
        **pairs("sirs/train/real", 60),
        **pairs("sirs/train/nature", 60),
        **pairs("sirs/test/real20_420", 2),
        **pairs("sirs/test/Nature", 2),
        **pairs("sirs/test/SIR2/SolidObjectDataset", 1),
        **{f"{scene}/{layer}.png": png() for layer in "mgr"},
        "sirs/README.txt": b"hello",
    }


def write(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def url(tmp_path, monkeypatch):
    """A server of one archive."""
    packed = write(tmp_path / "served.zip", content()).read_bytes()

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(packed)))
            self.end_headers()
            self.wfile.write(packed)

        def log_message(self, *_):
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/sirs.zip"
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(tmp_path, url, yes=True, **more):
    return download_sirs(tmp_path / "sets", tmp_path / "cache", yes, lambda words: None, url=url, **more)


def test_the_archive_is_fetched_and_its_sets_stand_where_recipes_and_evaluate_look(url, tmp_path):
    lines = fetch(tmp_path, url)
    assert [line.partition(":")[0] for line in lines] == [
        "test/nature20",
        "test/real20_420",
        "test/sir2-objects",
        "test/sir2-wild",
        "train/nature",
        "train/photos",
        "train/real",
    ]
    sets = tmp_path / "sets"
    found = {item.name: len(item.pairs) for item in find_data_sets(sets / "test")}
    assert found == {"nature": 2, "real20": 2, "sir2-objects": 1, "sir2-wild": 1}
    assert len(list((sets / "train/photos").iterdir())) == 100
    assert len(list((sets / "train/real/blended").iterdir())) == 60
    assert [str(path.relative_to(sets)) for path in (sets / "other").rglob("*")] == [
        "other/sirs",
        "other/sirs/README.txt",
    ]
    assert not (tmp_path / "cache/sirs.zip").exists()
    assert "sirs.zip" in (sets / "sirs.zip.sha256").read_text()


def test_nothing_is_fetched_before_the_terms_of_each_set_are_agreed_to(url, tmp_path):
    with pytest.raises(ModelError, match=r"VOC2012.*Real89.*no licence known.*nature.*SIR2.*on request.*yes"):
        fetch(tmp_path, url, yes=False)
    assert not (tmp_path / "cache").exists()


def test_a_folder_that_is_there_is_left_alone(url, tmp_path):
    (tmp_path / "sets").mkdir()
    with pytest.raises(InputError, match="is there already"):
        fetch(tmp_path, url)
    assert not (tmp_path / "cache").exists()


def test_an_archive_of_ones_own_is_taken_and_kept(tmp_path):
    own = write(tmp_path / "own.zip", pairs("real20", 1))
    assert fetch(tmp_path, "http://nowhere.invalid/", archive=own) == ["test/real20: 1 pairs to test with"]
    assert own.is_file()
    assert not (tmp_path / "sets/other").exists()


def test_nothing_half_unpacked_stays(tmp_path):
    own = write(tmp_path / "own.zip", content())
    data = bytearray(own.read_bytes())
    data[data.rindex(b"\x89PNG") + 20 if b"\x89PNG" in data else len(data) // 2] ^= 0xFF
    own.write_bytes(data)
    with pytest.raises(InputError, match=r"own\.zip: not a whole ZIP archive"):
        fetch(tmp_path, "", archive=own)
    assert [path.name for path in tmp_path.iterdir()] == ["own.zip"]


@pytest.mark.parametrize("name", ["../out.png", "a/../../out.png", "/out.png", "C:/out.png", "..\\out.png"])
def test_an_entry_outside_the_folder_is_refused(tmp_path, name):
    archive = write(tmp_path / "a.zip", {"good.png": b"1", name: b"2"})
    with pytest.raises(InputError, match="outside the folder"):
        unpack(archive, tmp_path / "to")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_links_are_refused(tmp_path):
    entry = zipfile.ZipInfo("link")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(InputError, match="is a link"):
        unpack(tmp_path / "a.zip", tmp_path / "to")


def test_bombs_are_refused(tmp_path):
    archive = write(tmp_path / "a.zip", {"zeros": bytes(unpacking.SMALL + 1)})
    with pytest.raises(InputError, match="zeros grows 200 times"):
        unpack(archive, tmp_path / "to")
    with pytest.raises(InputError, match=r"unpack to 0\.0 GB in 1 files; at most 0\.0 GB"):
        unpack(archive, tmp_path / "to", most_bytes=1000)
    assert not (tmp_path / "to").exists()


def test_entries_of_one_name_are_refused(tmp_path):
    archive = write(tmp_path / "a.zip", {"a.png": b"1", "A.png": b"2"})
    with pytest.raises(InputError, match=r"two entries are called a\.png"):
        unpack(archive, tmp_path / "to")


def test_a_file_that_is_also_a_folder_is_refused(tmp_path):
    own = write(tmp_path / "own.zip", {"a": b"1", "a/b.png": b"2"})
    with pytest.raises(InputError, match="both a file and a folder"):
        fetch(tmp_path, "", archive=own)
    assert [path.name for path in tmp_path.iterdir()] == ["own.zip"]


def test_what_is_no_archive_is_named(tmp_path):
    (tmp_path / "page.zip").write_text("<html>")
    with pytest.raises(InputError, match=r"page\.zip: not a whole ZIP archive"):
        unpack(tmp_path / "page.zip", tmp_path / "to")

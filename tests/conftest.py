import os
import struct
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch: threads of several workers would wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-dir",
        type=Path,
        default=Path(__file__).parent / "golden" / "data",
        help="folder that holds the fixture folders ytmt, dmdnet and diffrs",
    )


@pytest.fixture(autouse=True)
def _deterministic() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _source_on_path_of_child_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tests that start `python -m dereflect` find this checkout's source, installed or not."""
    source = str(Path(__file__).parent.parent / "src")
    known = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", source + (os.pathsep + known if known else ""))


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with the default family's real classes at a tiny size and random weights."""
    from dereflect.methods.default.method import DefaultMethod
    from dereflect.methods.default.network import DefaultConfig

    folder = tmp_path_factory.mktemp("models") / "tiny"
    torch.manual_seed(0)
    DefaultMethod(DefaultConfig(widths=(8, 8, 8), head_width=8, encoder="")).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def wide_profile() -> bytes:
    """An ICC profile of the primaries and the gamma of Adobe RGB (1998), written by hand."""

    def s15(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def xyz(x: float, y: float, z: float) -> bytes:
        return b"XYZ \0\0\0\0" + s15(x) + s15(y) + s15(z)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"wide\0" + bytes(4 + 4 + 2 + 1 + 67)
    text += bytes(-len(text) % 4)
    tags = {  # primaries are adapted to D50
        b"desc": text,
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(0.60974, 0.31111, 0.01947),
        b"gXYZ": xyz(0.20528, 0.62567, 0.06087),
        b"bXYZ": xyz(0.14919, 0.06322, 0.74457),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content
    size = start + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    head = head.ljust(36, b"\0") + b"acsp"
    head = head.ljust(68, b"\0") + s15(0.9642) + s15(1.0) + s15(0.8249)
    return head.ljust(128, b"\0") + table + body

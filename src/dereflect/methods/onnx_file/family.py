"""Models in ONNX files, as the catalog knows them: none by name, any by its file."""

from __future__ import annotations

from pathlib import Path

from dereflect.methods.family import Family


def recognises_file(path: Path) -> bool:
    """Whether a file is of the ONNX kind, by its name."""
    return path.suffix.lower() == ".onnx"


FAMILY = Family(name="onnx_file", package=__package__, cards=(), recognises_file=".family:recognises_file")

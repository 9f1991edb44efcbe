"""What the tests of the command line share."""

from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from dereflect.cli import app


def photo(path: Path, seed: int = 0, size: tuple[int, int] = (48, 33), **options) -> Path:
    """Write a photo of random pixels, (width, height)."""
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **options)
    return path


def names(folder: Path) -> list[str]:
    """Every file below a folder, by its path from there."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def invoke(*arguments: object):
    """Run the command line in this process; what it cannot explain is raised."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

INTEGRATIONS = Path(__file__).parents[2] / "integrations"


def stand_in(path: Path, more: str = "") -> Path:
    """Write a `dereflect` command as an editor would find one: this checkout, run by this Python."""
    if sys.platform == "win32":
        pytest.skip("the stand-in for an installed command is a shell script")
    path.parent.mkdir(parents=True, exist_ok=True)
    source = INTEGRATIONS.parent / "src"
    lines = [
        "#!/bin/sh",
        f'export PYTHONPATH="{source}" OMP_NUM_THREADS=1',
        f'exec "{sys.executable}" -m dereflect "$@" {more}',
    ]
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def command(tmp_path: Path, model_folder: Path) -> Path:
    """The command with the tiny model."""
    return stand_in(tmp_path / "bin" / "dereflect", f'--model "{model_folder}" --device cpu')


@pytest.fixture
def real_command(tmp_path: Path) -> Path:
    """The command as it is, with the model of its choice."""
    return stand_in(tmp_path / "real" / "dereflect")


@pytest.fixture
def plug_in() -> ModuleType:
    """The part of the GIMP plug-in that knows nothing of GIMP."""
    path = INTEGRATIONS / "gimp" / "dereflect" / "command.py"
    spec = importlib.util.spec_from_file_location("plug_in_command", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

"""`import dereflect` is light, clean and complete."""

import subprocess
import sys

import dereflect


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120, check=False
    )


def test_a_fresh_interpreter_imports_without_warnings_and_without_torch():
    heavy = ("torch", "numpy", "PIL", "typer", "pydantic")
    done = python(
        f"import sys, dereflect; assert not [m for m in {heavy} if m in sys.modules]; print(dir(dereflect))"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "load" in done.stdout


def test_the_public_names_are_these():
    assert dereflect.__all__ == ["Separation", "Separator", "__version__", "load", "separate"]
    assert all(getattr(dereflect, name) is not None for name in dereflect.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error():
    done = python("import dereflect\ntry: dereflect.nothing\nexcept AttributeError as error: print(error)")
    assert done.stdout.strip() == "module 'dereflect' has no attribute 'nothing'"

"""Golden fixtures: folders of safetensors files whose every entry must be checked by the test module that
reads them.

A test module names a check for each file it knows and lets the folder decide what runs:

    CHECKS = {"losses": check_losses, "net_.*": check_network}       # regular expressions of file stems

    def pytest_generate_tests(metafunc):
        parametrize_over_files(metafunc, "ytmt")

    def test_golden_file(golden_file):
        run_check(golden_file, CHECKS)

    def check_losses(file):
        image = file.take("image")
        file.compare("sum", image.sum(), atol=1e-6)

A file that no check knows fails, and so does a file of which a check left an entry untouched. Seeds and
sizes come from the file's metadata and shapes, never from constants, so another folder with the same file
names can be given.
"""

import functools
import importlib.util
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

DOCUMENTS = {".md", ".txt"}
"""Suffixes of files that hold no numbers and need no check."""


class GoldenFile:
    """One safetensors file: hands out its entries once asked for, and knows which were never asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.stem
        self._tensors: dict[str, Tensor] = {}
        self._used: set[str] = set()
        self.metadata: dict[str, str] = {}
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as content:
                self.metadata = dict(content.metadata() or {})
                self._tensors = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118

    @property
    def keys(self) -> list[str]:
        """All entries, in order."""
        return sorted(self._tensors)

    def __contains__(self, key: str) -> bool:
        return key in self._tensors

    def groups(self, part: int = 0) -> list[str]:
        """The distinct values of one dotted part of the keys, e.g. the cases ``even`` and ``odd``."""
        return sorted({key.split(".")[part] for key in self._tensors if key.count(".") >= part})

    def matching(self, pattern: str) -> list[re.Match[str]]:
        """Full matches of a regular expression among the keys (asking is not using)."""
        found = (re.fullmatch(pattern, key) for key in self.keys)
        return [match for match in found if match]

    def take(self, key: str) -> Tensor:
        """An entry, marked as used."""
        assert key in self._tensors, f"{self.name}: has no entry {key}"
        self._used.add(key)
        return self._tensors[key].clone()

    def compare(self, key: str, actual: Tensor | float, *, atol: float = 0.0, rtol: float = 0.0) -> None:
        """Use entry `key` as the expected value of `actual`: same shape, all differences within the
        tolerance.
        """
        expected = self.take(key)
        actual = torch.as_tensor(actual).detach()
        assert actual.shape == expected.shape, (
            f"{self.name}: {key} {tuple(actual.shape)} != {tuple(expected.shape)}"
        )
        difference = (actual.double() - expected.double()).abs()
        allowed = atol + rtol * expected.double().abs()
        worst = (difference - allowed).max().item() if difference.numel() else 0.0
        assert worst <= 0, (
            f"{self.name}: {key} differs by {difference.max().item():.3g} (atol {atol}, rtol {rtol})"
        )
        assert torch.isfinite(difference).all(), f"{self.name}: {key} is not finite"

    def compare_norm(self, key: str, actual: Tensor, limit: float) -> None:
        """Use entry `key` as expected value: relative L2 error at most `limit`."""
        expected = self.take(key).double()
        actual = actual.detach().double()
        assert actual.shape == expected.shape, (
            f"{self.name}: {key} {tuple(actual.shape)} != {tuple(expected.shape)}"
        )
        error = ((actual - expected).norm() / expected.norm().clamp_min(1e-30)).item()
        assert error <= limit, f"{self.name}: {key} has relative L2 error {error:.3g} (limit {limit})"

    def unused(self) -> list[str]:
        """Entries that no check has looked at."""
        return [key for key in self.keys if key not in self._used]


Check = Callable[[GoldenFile], None]


def golden_files(folder: Path, ignore: frozenset[str] = frozenset()) -> list[Path]:
    """The files to check in a fixture folder, without documents and the names in `ignore`."""
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path.suffix not in DOCUMENTS
        and path.name not in ignore
        and "__pycache__" not in path.parts
    )


def parametrize_over_files(
    metafunc: pytest.Metafunc, method: str, ignore: frozenset[str] = frozenset()
) -> None:
    """Give a test's ``golden_file`` argument every file of ``--golden-dir``/`method`; an empty folder is a
    failure.
    """
    if "golden_file" not in metafunc.fixturenames:
        return
    folder = metafunc.config.getoption("--golden-dir") / method
    paths = golden_files(folder, ignore) or [folder / "no-fixtures-found"]
    metafunc.parametrize("golden_file", [pytest.param(path, id=path.stem) for path in paths])


def run_check(path: Path, checks: Mapping[str, Check]) -> None:
    """Run the check whose pattern fits the file's stem, then fail if any entry was left unlooked at."""
    fitting = [check for pattern, check in checks.items() if re.fullmatch(pattern, path.stem)]
    assert fitting, f"{path}: no check knows this file"
    file = GoldenFile(path)
    fitting[0](file)
    assert not file.unused(), f"{path.name}: entries that no check looked at: {file.unused()}"


@functools.cache
def manifest(folder: Path) -> dict[str, Any]:
    """What lies beside a folder's files, by file name."""
    return json.loads((folder / "manifest.json").read_text())


def section(file: GoldenFile) -> dict[str, Any]:
    """What the manifest says of a file."""
    return manifest(file.path.parent)[file.name]


@functools.cache
def recipe(folder: Path) -> ModuleType:
    """The module beside a folder's files that made their weights and inputs."""
    specification = importlib.util.spec_from_file_location(
        f"{folder.name}_golden_recipe", folder / "recipe.py"
    )
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module

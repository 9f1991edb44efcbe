"""What stands around the code: versions that agree, extras that exist, files that tools read."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from safetensors.numpy import load_file

from dereflect.catalog import CARDS

ROOT = Path(__file__).parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def check_version(*words: str) -> subprocess.CompletedProcess[str]:
    script = ROOT / "scripts" / "check_version.py"
    return subprocess.run([sys.executable, script, *words], capture_output=True, text=True, check=False)


def test_package_and_citation_name_one_version():
    assert check_version().returncode == 0


def test_a_tag_of_another_version_is_refused():
    done = check_version("0.0.0")
    assert (done.returncode, done.stderr.startswith("versions differ")) == (1, True)


@pytest.mark.parametrize("page", [page.relative_to(ROOT).as_posix() for page in PAGES])
def test_every_extra_that_a_page_installs_exists(page: str):
    named = re.findall(r"(?:dereflect|\.)\[([a-z,]+)\]", (ROOT / page).read_text(encoding="utf-8"))
    assert {extra for group in named for extra in group.split(",")} <= set(EXTRAS)


@pytest.mark.parametrize("file", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_files_for_the_forge_are_valid_yaml(file: Path):
    assert isinstance(yaml.safe_load(file.read_text(encoding="utf-8")), dict)


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "src" / "dereflect" / "py.typed").is_file()


@pytest.mark.parametrize("card", CARDS.values(), ids=lambda card: card.name)
def test_a_model_has_a_page_and_is_listed(card):
    page = "models/default.md" if card.name == "default" else f"methods/{card.family}.md"
    assert (ROOT / "docs" / page).is_file()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"| `{card.family}` |" in readme
    assert f"(docs/{page})" in readme
    assert page in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


def test_pages_tell_the_size_of_the_embedded_model():
    path = ROOT / "src/dereflect/methods/default/weights/model.safetensors"
    million = sum(value.size for value in load_file(path).values()) / 1e6
    card = (ROOT / "docs" / "models" / "default.md").read_text(encoding="utf-8")
    assert f"network, {million:.1f} M parameters" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{million:.1f} million parameters" in card
    assert f"{path.stat().st_size / 1e6:.1f} MB" in card

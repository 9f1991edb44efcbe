"""`dereflect evaluate` on nine pairs, from the command line to the report, for every method of the catalog.

Each method has its real classes at a small size, with weights that its own tests make, in the files that a
user would have.
"""

import importlib
import importlib.util
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from dereflect.catalog import families
from dereflect.cli import app
from dereflect.nn.vgg import Vgg19

METHODS = Path(__file__).parents[1] / "methods"
GOLDEN = Path(__file__).parents[1] / "golden"
PAIRS = 9


def made_by(method: str, module: str):
    """The module with which the tests of a method make its small networks."""
    folder = str(METHODS / method)
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(module)


def default(folder: Path) -> list[object]:
    from dereflect.methods.default.method import DefaultMethod
    from dereflect.methods.default.network import DefaultConfig

    DefaultMethod(DefaultConfig(widths=(8, 8, 8), head_width=8, encoder="")).save_pretrained(folder)
    return ["--model", folder]


def ytmt(folder: Path) -> list[object]:
    from dereflect.methods.ytmt.config import NAMED, YtmtConfig
    from dereflect.methods.ytmt.method import YtmtMethod

    config = YtmtConfig(**{**NAMED["uct"].__dict__, "width": 8})
    YtmtMethod(config, Vgg19()).save_pretrained(folder)
    return ["--model", folder]


def dsit(folder: Path) -> list[object]:
    from dereflect.methods.dsit.method import DSITMethod

    small = made_by("dsit", "small_dsit")
    method = DSITMethod(small.SMALL)
    method.network = small.small_dsit()
    method.save_pretrained(folder)
    return ["--model", folder]


def dsrnet(folder: Path) -> list[object]:
    from dereflect.methods.dsrnet.method import DSRNetMethod

    small = made_by("dsrnet", "small_dsrnet")
    method = DSRNetMethod(small.SMALL, Vgg19())
    method.network = small.small_dsrnet()
    method.save_pretrained(folder)
    return ["--model", folder]


def rdnet(folder: Path) -> list[object]:
    from dereflect.methods.rdnet.method import RDNetMethod

    tiny = made_by("rdnet", "tiny_rdnet")
    method = RDNetMethod(tiny.tiny_config())
    method.network = tiny.tiny_network()
    method.save_pretrained(folder)
    return ["--model", folder]


def dmdnet(folder: Path) -> list[object]:
    from dereflect.methods.dmdnet.config import DMDNetConfig
    from dereflect.methods.dmdnet.method import DMDNetMethod

    method = DMDNetMethod(DMDNetConfig(dims=(4, 6, 8, 10, 12)))
    made_by("dmdnet", "small_dmdnet").wake(method.network)
    method.save_pretrained(folder)
    return ["--model", folder]


def diffrs(folder: Path) -> list[object]:
    pytest.importorskip("diffusers", reason="needs the extra diffusion")
    made_by("diffrs", "tiny_diffrs").make_pipeline().save_pretrained(folder)
    return ["--model", folder, "--set", "steps=2", "--set", "resolution=64"]


def windowseat(folder: Path) -> list[object]:
    pytest.importorskip("diffusers", reason="needs the extra diffusion")
    path = GOLDEN / "data" / "windowseat" / "recipe.py"
    specification = importlib.util.spec_from_file_location("windowseat_recipe_of_evaluation", path)
    recipe = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(recipe)
    base, adapter = recipe.write_tiny_hub(folder, 5)
    return ["--model", "windowseat", "--set", f"base={base}", "--set", f"adapter={adapter}"]


MAKERS = {made.__name__: made for made in (default, ytmt, dsit, dsrnet, rdnet, dmdnet, diffrs, windowseat)}
"""By family. A new method adds its function here."""
SLOW = {"dmdnet"}
"""Its depth network has one size, of 70 million weights."""


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    """Nine small photos through glass: a scene, and a softer one mirrored over it."""
    folder, random = tmp_path_factory.mktemp("nine") / "pairs", np.random.default_rng(0)
    for place in ("blended", "transmission_layer"):
        (folder / place).mkdir(parents=True)
    for number in range(PAIRS):
        scene = random.integers(0, 180, (8, 10, 3)).repeat(8, 0).repeat(8, 1)
        mirrored = random.integers(0, 75, (2, 2, 3)).repeat(32, 0).repeat(40, 1)
        for place, picture in (("blended", scene + mirrored), ("transmission_layer", scene)):
            Image.fromarray(picture.astype(np.uint8)).save(folder / place / f"{number}.png")
    return folder


def test_every_family_has_a_maker():
    assert set(MAKERS) == {family.name for family in families() if family.cards}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in MAKERS]
)
def test_nine_pairs_are_evaluated_end_to_end(name, pairs, tmp_path):
    torch.manual_seed(0)
    words = MAKERS[name](tmp_path / name)
    arguments = ["evaluate", "--data", pairs, *words, "--device", "cpu", "-o", tmp_path / "report"]
    done = CliRunner().invoke(app, [str(word) for word in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    pictures = json.loads((tmp_path / "report" / "results.json").read_text())["pictures"]
    found = {record["picture"]: record for record in pictures if record["model"] == name}
    assert sorted(found) == [f"{number}" for number in range(PAIRS)]
    assert all(math.isfinite(record["layers"]["transmission"]["psnr"]) for record in found.values())
    assert (tmp_path / "report" / "report.html").is_file()

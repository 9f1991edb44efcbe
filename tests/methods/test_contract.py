"""The contract, by the method that CONTRIBUTING.md adds: its files are written into a package and used."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

import dereflect.methods
from dereflect import catalog
from dereflect.catalog import CARDS, families, load_method
from dereflect.cli import app
from dereflect.cli.methods import attach
from dereflect.errors import InputError, ModelError, RecipeError
from dereflect.evaluation.published import published_for
from dereflect.methods.contract import Method
from dereflect.methods.family import Loader
from dereflect.methods.objective import Objective
from dereflect.methods.options import MethodOptions, describe
from dereflect.training.recipe import load_recipe, objective_class

GUIDE = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```python\n# src/dereflect/methods/(pane/\w+\.py)\n(.*?)```", GUIDE, re.DOTALL))


def forget_pane() -> None:
    for name in [name for name in sys.modules if name.startswith("dereflect.methods.pane")]:
        del sys.modules[name]
    if hasattr(dereflect.methods, "pane"):
        del dereflect.methods.pane


@pytest.fixture
def pane(tmp_path, monkeypatch):
    """The guide's method, registered by the guide's one line; returns its family."""
    (folder := tmp_path / "added/pane").mkdir(parents=True)
    (folder / "__init__.py").write_text('"""Pane."""\n')
    for name, text in FILES.items():
        (folder.parent / name).write_text(text)
    monkeypatch.setattr(dereflect.methods, "__path__", [*dereflect.methods.__path__, str(folder.parent)])
    monkeypatch.setenv("DEREFLECT_CACHE", str(tmp_path / "cache"))
    (line,) = re.findall(r'^    "pane": "(.*)",$', GUIDE, re.MULTILINE)
    forget_pane()
    monkeypatch.setitem(catalog.FAMILIES, "pane", line)
    yield catalog.family("pane")
    forget_pane()


@pytest.fixture
def weights(tmp_path) -> Path:
    """A checkpoint as Pane's authors would publish it, twice as wide as the default."""
    inner, outer = torch.nn.Conv2d(3, 16, 3), torch.nn.Conv2d(16, 3, 3)
    state = {"inner": inner.state_dict(), "outer": outer.state_dict()}
    path = tmp_path / "pane.pt"
    torch.save({f"{part}.{key}": 0.1 * value for part in state for key, value in state[part].items()}, path)
    return path


def run(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def photo(path: Path, size: tuple[int, int] = (18, 22)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_the_guide_holds_every_file():
    assert set(FILES) == {f"pane/{name}.py" for name in ("network", "method", "family", "objective")}


def test_an_added_method_is_listed_with_all_its_facts(pane):
    done = run("models", "--json")
    listed = [json.loads(line) for line in done.output.splitlines()]
    assert sorted(card["name"] for card in listed) == sorted(CARDS)
    (own,) = (card for card in listed if card["name"] == "pane")
    assert own["published"][0]["psnr"] == 19.16
    shown = run("models", "show", "pane").output
    for words in ("not stated by the authors", "VOC", "19.16 dB", "SSIM 0.732", "0.1 s and 310 MiB"):
        assert words in shown
    assert "strong (on|off, default off)\n      whether to take the reflection away twice" in shown


def test_an_added_method_loads_from_every_kind_of_source(pane, weights, tmp_path):
    first, name = load_method(weights)
    assert (name, first.family, first.config.width, first.strong) == ("pane", "pane", 16, False)
    first.save_pretrained(tmp_path / "folder")
    again, _ = load_method(tmp_path / "folder", {"strong": "on"})
    assert again.strong
    image = torch.rand(1, 3, 8, 12)
    twice = first(first(image)[0])[0]
    assert torch.equal(again(image)[0], twice)


def test_settings_are_validated_and_the_nearest_is_named(pane, weights):
    with pytest.raises(InputError, match="setting stong=on: pane has no such setting; did you mean strong"):
        load_method(weights, {"stong": "on"})
    with pytest.raises(InputError, match="setting strong=maybe: give on or off"):
        load_method(weights, {"strong": "maybe"})
    with pytest.raises(InputError, match="setting strong=on: default has no settings"):
        load_method("default", {"strong": "on"})


def test_its_weights_are_fetched_by_name_only_when_asked(pane, weights, tmp_path):
    with pytest.raises(ModelError, match=r"pane: its weights are not here.*0 MB from https://example\.org"):
        load_method("pane")
    with pytest.raises(ModelError, match=r"would fetch.*: not stated; no checksum.*setting weights=FILE"):
        run("models", "download", "pane")
    with pytest.raises(InputError, match="has no such part; give weights"):
        run("models", "download", "pane", "--set", f"banks={weights}")
    done = run("models", "download", "pane", "--set", f"weights={weights}")
    assert "use it with --model pane" in done.output
    assert load_method("pane")[0].config.width == 16
    kept = tmp_path / "cache/pane/pane.pt"
    kept.write_bytes(kept.read_bytes() + b"more")
    with pytest.raises(ModelError, match="not the file that was first used"):
        load_method("pane")


def test_an_added_method_separates_and_explains(pane, weights, tmp_path):
    out = tmp_path / "out"
    done = run("separate", photo(tmp_path / "a.png"), "--model", weights, "--explain", "-o", out)
    assert done.exit_code == 0, done.output
    names = ("transmission", "reflection", "removed")
    assert sorted(path.name for path in out.iterdir()) == sorted(f"a_{name}.png" for name in names)


def test_an_added_method_trains_by_the_one_loop(pane, tmp_path):
    for folder in ("blended", "transmission_layer"):
        photo(tmp_path / "pairs" / folder / "1.png", (20, 20))
    recipe = tmp_path / "pane.yaml"
    recipe.write_text(
        f"objective: pane\ndata: {tmp_path / 'pairs'}\noutput: {tmp_path / 'run'}\n"
        "settings: {width: 8, crop: 16, learning_rate: 0.001}\n"
        "schedule: {steps: 2, device: cpu, log_every: 1}\n"
    )
    done = run("train", recipe)
    assert done.exit_code == 0, done.output
    assert load_method(tmp_path / "run/model")[0].family == "pane"
    with pytest.raises(RecipeError, match="settings: unknown key 'widht'"):
        run("train", recipe, "settings.widht=4")
    with pytest.raises(RecipeError, match="objective 'pain' is unknown; did you mean pane"):
        load_recipe(recipe, ["objective=pain"])


@pytest.mark.parametrize("family", [*families()], ids=lambda family: family.name)
def test_every_reference_of_a_family_leads_to_what_it_says(family):
    assert catalog.family(family.name) is family
    assert {card.family for card in family.cards} == ({family.name} if family.cards else set())
    assert family.cards or family.recognises_file  # else no one could load it
    wanted = {name for name in vars(Loader) if not name.startswith("_")}
    loader = family.load()
    assert all(callable(getattr(loader, name)) for name in wanted)
    assert issubclass(family.options_class(), MethodOptions)
    assert all(meaning for *_, meaning in describe(family.options_class()))
    for reference in _named(family):
        assert callable(family.resolve(reference))
    for preparation in family.preparations.values():
        assert preparation.objective in family.objectives


def _named(family):
    references = (family.recognises_folder, family.recognises_file, family.traced, family.download)
    return filter(None, (*references, *family.verbs.values()))


@pytest.mark.parametrize("name", [name for family in families() for name in family.objectives])
def test_every_objective_is_one(name):
    if name.startswith("diffrs"):
        pytest.importorskip("diffusers")
    assert issubclass(objective_class(name), Objective)


def test_own_verbs_come_from_the_families():
    bare = typer.Typer()
    attach(bare)
    names = [command.name for command in bare.registered_commands]
    assert names == [verb for family in families() for verb in (*family.verbs, *family.preparations)]
    assert {"depth", "latents"} <= set(names)


def test_a_preparation_refuses_another_objectives_recipe():
    with pytest.raises(RecipeError, match="latents prepares trainings of diffrs-fgfm, not of default"):
        run("latents", "default")


def test_published_numbers_on_cards_are_those_of_the_tables():
    tables = {"ytmt": "YTMT-UCT", "diffrs": "DiffRS", "dmdnet": "DMDNet"}
    for name, method in tables.items():
        for score in CARDS[name].published:
            (found,) = [p for p in published_for(score.data, "transmission") if p.method == method]
            assert (score.psnr, score.ssim) == (found.values["psnr"], found.values["ssim"])
            assert score.protocol == found.protocol


def test_a_method_explains_nothing_unless_it_says_so():
    assert Method.explanations == ()


def test_the_old_place_of_the_objective_warns_and_gives_the_same(monkeypatch):
    monkeypatch.delitem(sys.modules, "dereflect.training.objective", raising=False)
    with pytest.warns(DeprecationWarning, match="now dereflect.methods.objective"):
        from dereflect.training.objective import Objective as Old
    assert Old is Objective

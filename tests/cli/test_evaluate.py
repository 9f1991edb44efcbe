"""`dereflect evaluate` and `dereflect benchmark` with a real model of tiny size."""

import json

import numpy as np
import pytest
from command_line import invoke
from PIL import Image

from dereflect import recipes
from dereflect.errors import InputError, ModelError
from dereflect.evaluation.ablation import load_variants, read_ablation


@pytest.fixture
def pairs(tmp_path):
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        truth = random.integers(0, 200, (6, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        for place, picture in (("blended", truth + 30), ("transmission_layer", truth)):
            (tmp_path / "pairs" / place).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture.astype(np.uint8)).save(tmp_path / "pairs" / place / f"{name}.png")
    return tmp_path / "pairs"


def test_a_report_from_the_command_line(pairs, model_folder, tmp_path):
    out = tmp_path / "report"
    done = invoke("evaluate", "--data", pairs, "--model", model_folder, "-o", out, "--device", "cpu")
    assert "PSNR of the transmission on pairs by" in done.output
    assert "the aligned PSNR by" in done.output
    assert "worse by more than 0.5 dB" in done.output
    assert str(out / "report.html") in done.output
    content = json.loads((out / "results.json").read_text())
    assert {record["model"] for record in content["pictures"]} == {"untouched input", "tiny"}
    assert content["absent"].keys() >= {"LPIPS-alex", "DISTS"}
    before = (out / "records.jsonl").read_text()
    invoke("evaluate", "--data", pairs, "--model", model_folder, "-o", out, "--device", "cpu", "-q")
    assert (out / "records.jsonl").read_text() == before


def test_several_models_and_a_protocol(pairs, model_folder, tmp_path):
    out = tmp_path / "report"
    models = f"{model_folder},default"
    options = ["--models", models, "--protocol", "ytmt", "--limit", 1, "--dtype", "float32", "--workers", 2]
    invoke("evaluate", "--data", pairs, "-o", out, *options)
    content = json.loads((out / "results.json").read_text())
    assert [row["model"] for row in content["summary"]] == ["untouched input", "tiny", "default"]
    assert content["data"][0]["notes"] == ["only the first 1 pictures"]
    assert content["protocol"]["name"] == "ytmt"


def test_faults_are_one_line_and_come_before_the_work(pairs, tmp_path):
    out = tmp_path / "report"
    with pytest.raises(ModelError, match="did you mean default"):
        invoke("evaluate", "--data", pairs, "--model", "defualt", "-o", out)
    with pytest.raises(ModelError, match="runs/mine/model: no model of this name"):
        invoke("evaluate", "--data", pairs, "--models", "default,runs/mine/model", "-o", out)
    with pytest.raises(InputError, match="two data sets are called 'pairs'"):
        invoke("evaluate", "--data", pairs, "--data", pairs, "-o", out)
    with pytest.raises(InputError, match="protocol x: unknown"):
        invoke("evaluate", "--data", pairs, "--protocol", "x", "-o", out)
    (pairs / "transmission_layer" / "a.png").unlink()
    with pytest.raises(InputError, match=r"a\.png: has no partner"):
        invoke("evaluate", "--data", pairs, "-o", out)
    assert not out.exists()


def test_an_ablation_file_gives_the_papers_table(pairs, model_folder, tmp_path):
    file = tmp_path / "ablation.yaml"
    file.write_text(
        "title: Sizes\nswitches: [weights]\nvariants:\n"
        f"  - {{name: small, shows: {{weights: random}}, model: '{model_folder}'}}\n"
        "  - {name: full, shows: {weights: trained}}\n"
    )
    out = tmp_path / "report"
    options = ["--ablate", file, "--model", "default", "--device", "cpu"]
    done = invoke("evaluate", "--data", pairs, *options, "-o", out)
    assert "| small | random | " in done.output
    table = (out / "tables.md").read_text().split("###")[1]
    assert "Sizes (transmission)" in table
    assert "| variant | weights | pairs PSNR ↑ |" in table
    assert "| small | random | " in table
    assert "| full | trained | " in table
    with pytest.raises(InputError, match="names no model"):
        invoke("evaluate", "--data", pairs, "--ablate", file, "-o", out)


def test_the_shipped_ablations_are_sound():
    """Every file reads, and every switch is one that its method knows."""
    from dereflect.catalog import family
    from dereflect.methods.ytmt.config import NAMED

    folder = recipes.FOLDER / "ablations"
    files = {path.stem: read_ablation(path) for path in folder.glob("*.yaml")}
    assert set(files) == {"ytmt", "dmdnet", "diffrs", "diffrs_w"}
    for variant in files["ytmt"].variants:
        assert variant.model.removeprefix("{model}/") in NAMED
    for name in ("diffrs", "diffrs_w", "dmdnet"):
        for variant in files[name].variants:
            family(name.partition("_")[0]).read_options(variant.options)


def test_a_variants_own_weights_may_lie_below_the_model_given(model_folder, tmp_path):
    file = tmp_path / "ablation.yaml"
    file.write_text("title: x\nvariants: [{name: a, model: '{model}/tiny'}]")
    ablation = read_ablation(file)
    (model,) = load_variants(ablation, str(model_folder.parent), {}, {"device": "cpu"})
    assert model.name == "a"
    with pytest.raises(InputError, match="'a': names no model"):
        load_variants(ablation, None, {}, {})
    with pytest.raises(ModelError, match="nowhere/tiny: no model of this name"):
        load_variants(ablation, str(tmp_path / "nowhere"), {}, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("variants: []\ntitle: x", "variants"),
        ("title: x\nvariants: [{name: a}, {name: a}]", "two variants are called 'a'"),
        ("title: x\nvariants: [{name: a, shows: {b: c}}]", "'a' shows 'b', which is no switch"),
        ("title: x\nvariants: [{name: a, optoins: {}}]", "unknown key 'variants.0.optoins'"),
        ("title: [", "not valid YAML"),
    ],
)
def test_a_wrong_ablation_file_is_refused(pairs, tmp_path, text, message):
    file = tmp_path / "ablation.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        invoke("evaluate", "--data", pairs, "--ablate", file, "-o", tmp_path / "out")


def test_benchmark_measures_what_loads_and_says_why_the_rest_does_not(model_folder, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    done = invoke("benchmark", "-m", model_folder, "-m", empty, "--megapixels", 0.05, "-o", tmp_path)
    speeds = json.loads((tmp_path / "speed.json").read_text())["speeds"]
    assert speeds[0]["seconds"] > 0
    assert speeds[0]["operations"] > 0
    assert speeds[0]["share"] > 0
    assert speeds[1]["seconds"] is None
    assert "config.json" in speeds[1]["reason"]
    assert speeds[1]["reason"] in done.output
    table = (tmp_path / "speed.md").read_text()
    assert table.count("\n| ") == 3


def test_benchmark_refuses_what_names_no_model_before_it_measures(tmp_path):
    with pytest.raises(ModelError, match="nothing-of-the-kind: no model of this name"):
        invoke("benchmark", "-m", "default", "-m", "nothing-of-the-kind", "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()

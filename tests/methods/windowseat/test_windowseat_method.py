import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dereflect.catalog import family, load_method
from dereflect.errors import InputError, ModelError
from dereflect.methods.windowseat import fetch
from dereflect.methods.windowseat.adapter import AdaptedLinear, adapt, adapter_scale
from dereflect.methods.windowseat.separation import finished, reflection_left
from dereflect.methods.windowseat.step import PromptEmbedding, pack, unpack
from dereflect.methods.windowseat.tiling import plan_tiles
from dereflect.separator import Separator

pytest.importorskip("diffusers")
RECIPE = Path(__file__).parents[2] / "golden" / "data" / "windowseat" / "recipe.py"


def tiny_recipe() -> ModuleType:
    specification = importlib.util.spec_from_file_location("tiny_windowseat", RECIPE)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(base, adapter): real classes at a tiny size, laid out as on the hub."""
    base, adapter = tiny_recipe().write_tiny_hub(tmp_path_factory.mktemp("hub"), 5)
    return Path(base), Path(adapter)


@pytest.fixture
def copied(hub: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the adapter's folder that a test may damage."""
    return Path(shutil.copytree(hub[1], tmp_path / "adapter"))


def settings(hub: tuple[Path, Path], **more: str) -> dict[str, str]:
    return {"base": str(hub[0]), "adapter": str(hub[1]), **more}


def loaded(hub: tuple[Path, Path], **more: str):
    return load_method("windowseat", settings(hub, **more))[0].prepare(torch.device("cpu"), torch.float32)


PHOTO = torch.rand(1, 3, 61, 83, generator=torch.Generator().manual_seed(2))


def test_layers_have_the_photos_size_and_the_reflection_is_what_is_left(hub):
    transmission, reflection = loaded(hub)(PHOTO)
    assert transmission.shape == reflection.shape == PHOTO.shape
    assert 0 <= float(transmission.min()) < float(transmission.max()) <= 1
    assert torch.equal(reflection, reflection_left(PHOTO, transmission))
    assert float(reflection[transmission >= PHOTO].abs().max()) == 0


def test_the_separator_runs_it(hub):
    photo = (np.random.default_rng(0).random((70, 99, 3)) * 255).astype(np.uint8)
    separation = Separator(loaded(hub), device="cpu", dtype="float32")(photo)
    assert separation.transmission.size == separation.reflection.size == (99, 70)


def test_the_mean_is_always_the_same_and_a_sample_goes_by_the_seed(hub):
    mean = loaded(hub)
    assert not mean.traits.random
    assert torch.equal(mean(PHOTO)[0], mean(PHOTO)[0])
    sample = loaded(hub, posterior="sample")
    assert sample.traits.random
    first, second, other = (
        sample(PHOTO, generator=torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    both = loaded(hub, posterior="sample", batch="3")
    again = both(PHOTO, generator=torch.Generator().manual_seed(1))[0]
    assert torch.allclose(first, again, atol=1e-5)


def test_progress_counts_tiles(hub):
    seen = []
    loaded(hub, tiling="more-tiles")(PHOTO, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_detail_keeps_tiles_at_the_networks_side_whatever_the_size():
    assert plan_tiles(4000, 3000, 768).side == 3000
    assert plan_tiles(4000, 3000, 768, "more-tiles").side == 1048
    detail = plan_tiles(4000, 3000, 768, "detail")
    assert detail.side == 768
    assert (detail.width, detail.height) == (4000, 3000)
    covered = np.zeros((3000, 4000), bool)
    for left, top, right, bottom in detail.boxes:
        covered[top:bottom, left:right] = True
    assert covered.all()


def test_a_panorama_is_refused_by_four_tiles_and_taken_by_detail():
    with pytest.raises(InputError, match=r"5009x1300.*4 an axis"):
        plan_tiles(5009, 1300, 768)
    assert plan_tiles(5009, 1300, 768, "detail").side == 768


def test_rounding_as_published_cuts_to_eight_bit():
    canvas = np.full((4, 4, 3), 0.501, np.float32)
    published, plain = finished(canvas, 4, 4, "published"), finished(canvas, 4, 4)
    assert published[0, 0, 0] == np.float32(191) / np.float32(255)
    assert plain[0, 0, 0] == pytest.approx(0.7505)


def test_packing_and_unpacking_are_inverse():
    latent = torch.randn(2, 16, 1, 6, 8)
    assert torch.equal(unpack(pack(latent), 6, 8), latent)


def test_texts_are_taken_in_turn_and_a_full_mask_is_left_out():
    state = {"prompt_embeds": torch.randn(2, 3, 4), "prompt_mask": torch.ones(2, 3)}
    embeds, mask = PromptEmbedding.of(state, "file").for_batch(3)
    assert torch.equal(embeds, state["prompt_embeds"][[0, 1, 0]])
    assert mask is None
    state["prompt_mask"][1, 2] = 0
    assert PromptEmbedding.of(state, "file").for_batch(2)[1].tolist() == [[True] * 3, [True, True, False]]
    state["prompt_mask"][0, 2] = 0
    with pytest.raises(ModelError, match="padded"):
        PromptEmbedding.of(state, "file")


@pytest.mark.parametrize(("ranked", "scale"), [(False, 2.0), (True, 4.0)])
def test_the_adapters_scale_comes_from_its_configuration(ranked: bool, scale: float):
    assert adapter_scale({"r": 4, "lora_alpha": 8, "use_rslora": ranked}, "file") == scale
    with pytest.raises(ModelError, match="no rank r and lora_alpha"):
        adapter_scale({"r": 4}, "file")
    for unknown in ({"use_dora": True}, {"alpha_pattern": {"img_in": 16}}, {"rank_pattern": {"img_in": 2}}):
        with pytest.raises(ModelError, match="not supported"):
            adapter_scale({"r": 4, "lora_alpha": 8} | unknown, "file")
    assert adapter_scale({"r": 4, "lora_alpha": 8, "alpha_pattern": {}, "rank_pattern": {}}, "file") == 2.0


def test_factors_of_two_ranks_are_refused():
    network = torch.nn.ModuleDict({"img_in": torch.nn.Linear(5, 3)})
    state = {
        "img_in.lora_A.default.weight": torch.zeros(2, 5),
        "img_in.lora_B.default.weight": torch.zeros(3, 4),
    }
    with pytest.raises(ModelError, match="factors of the adapter of img_in differ in rank"):
        adapt(network, state, 1.0, "file")


def test_an_adapter_adds_its_product_to_the_layer():
    layer = torch.nn.Linear(5, 3)
    down, up, x = torch.randn(2, 5), torch.randn(3, 2), torch.randn(7, 5)
    wanted = layer(x) + 0.5 * x @ down.t() @ up.t()
    assert torch.allclose(AdaptedLinear(layer, down, up, 0.5)(x), wanted, atol=1e-6)


def change(path: Path, edit) -> None:
    state = load_file(path)
    edit(state)
    save_file(state, path)


def test_foreign_adapters_are_named_in_one_line(hub, copied: Path):
    path = copied / "transformer_lora" / "pytorch_lora_weights.safetensors"
    options = settings((hub[0], copied))
    known, strange = "img_in.lora_A.default.weight", "img_in.lora_A.weight"
    change(path, lambda state: state.update({strange: state.pop(known)}))
    with pytest.raises(ModelError, match=r"unexpected: img_in\.lora_A\.weight"):
        load_method("windowseat", options)
    change(path, lambda state: state.pop(strange))
    with pytest.raises(ModelError, match=r"adapter of img_in does not fit"):
        load_method("windowseat", options)
    with pytest.raises(ModelError, match="is an adapter alone"):
        load_method(path)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"base_model": "Qwen/Qwen-Image", "processing_resolution": 96}, "names the base model"),
        ({"base_model": "Qwen/Qwen-Image-Edit-2509", "processing_resolution": 100}, "multiple of 16"),
        ({"processing_resolution": 96}, "is not the index"),
    ],
)
def test_another_releases_index_is_refused(hub, copied: Path, index: dict, message: str):
    (copied / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=message):
        load_method("windowseat", settings((hub[0], copied)))


def test_without_weights_it_says_what_to_fetch_and_fetches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DEREFLECT_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ModelError, match=r"about 45 GB.*Qwen-Image-Edit-2509.*Apache-2\.0.*--yes"):
        load_method("windowseat")
    with pytest.raises(ModelError, match=r"would fetch about 45 GB.*46 GB of memory, or 16 GB.*yes=True"):
        family("windowseat").fetch("windowseat", False, {}, lambda words: None)
    with pytest.raises(InputError, match="no such folder"):
        family("windowseat").fetch("windowseat", True, {"base": "nowhere"}, lambda words: None)
    assert not (tmp_path / "cache").exists()


def test_too_little_disk_is_told_before_the_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DEREFLECT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda place: SimpleNamespace(free=20e9))
    with pytest.raises(InputError, match=r"20 GB free, and 45 GB are needed"):
        family("windowseat").fetch("windowseat", True, {}, lambda words: None)


def test_all_shards_of_the_index_are_fetched_to_where_they_are_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DEREFLECT_CACHE", str(tmp_path))
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda place: SimpleNamespace(free=200e9))
    asked = []

    def fetched(repository: str, name: str, folder: Path, **more) -> None:
        asked.append((repository, name))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps({"weight_map": {"a": "1.st", "b": "2.st"}}))

    monkeypatch.setattr(fetch, "fetch_from_hub", fetched)
    place = family("windowseat").fetch("windowseat", True, {}, lambda words: None)
    for source, (repository, files) in fetch.SOURCES.items():
        assert {(repository, name) for name in files} <= set(asked)
        assert (place / source / files[0]).is_file()
    assert (fetch.BASE, "transformer/1.st") in asked
    assert (place / "base" / "transformer" / "2.st").is_file()


def test_too_little_memory_is_told_before_loading(hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fetch, "available_memory", lambda device: 1000)
    with pytest.raises(InputError, match=r"windowseat needs about 0 GB of memory, 0 GB are free"):
        load_method("windowseat", settings(hub))


def test_weights_that_do_not_fit_in_a_wider_dtype_are_not_widened(hub, monkeypatch: pytest.MonkeyPatch):
    method, _ = load_method("windowseat", settings(hub))
    monkeypatch.setattr(fetch, "available_memory", lambda device: 1000)
    with pytest.raises(InputError, match=r"in float32 needs about .* GB more on cpu, 0 GB are free"):
        method.prepare(torch.device("cpu"), torch.float32)
    method.prepare(torch.device("cpu"), torch.bfloat16)


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="bitsandbytes is there")
def test_four_bits_without_bitsandbytes_is_one_line(hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fetch, "check_memory", lambda base, quantised: None)
    with pytest.raises(InputError, match=r"quantised.*need bitsandbytes"):
        load_method("windowseat", settings(hub, quantised="on"))


def test_shards_are_read_from_the_index_and_stay_in_their_folder(tmp_path: Path):
    index = tmp_path / "index.json"
    index.write_text(json.dumps({"weight_map": {"a": "2.st", "b": "1.st", "c": "2.st"}}))
    assert fetch.shards(index) == ["1.st", "2.st"]
    index.write_text(json.dumps({"weight_map": {"a": "../2.st"}}))
    with pytest.raises(ModelError, match="outside"):
        fetch.shards(index)


def test_a_saved_configuration_names_the_folders_and_loads_back(hub, tmp_path: Path):
    method = loaded(hub)
    method.save_pretrained(tmp_path / "ours")
    assert [path.name for path in (tmp_path / "ours").iterdir()] == ["config.json"]
    again = load_method(tmp_path / "ours")[0].prepare(torch.device("cpu"), torch.float32)
    assert torch.equal(again(PHOTO)[0], method(PHOTO)[0])

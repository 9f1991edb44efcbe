from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_rdnet import lightning_file, older_files, tiny_network

from dereflect.catalog import CARDS, family, load_method
from dereflect.errors import InputError, ModelError
from dereflect.separator import Separator

IMAGE = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(1))


def saved(content, path: Path) -> Path:
    torch.save(content, path)
    return path


@torch.no_grad()
def layers_of(source, options=None) -> list[torch.Tensor]:
    return [layer.clone() for layer in load_method(source, options)[0](IMAGE)]


def assert_same(found, wanted) -> None:
    for a, b in zip(found, wanted, strict=True):
        assert torch.allclose(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("prompt", ["numbers", "map"])
def test_lightning_file_is_recognised_converted_and_loaded_back(tmp_path: Path, prompt: str):
    network = tiny_network(prompt=prompt)
    path = saved(lightning_file(network), tmp_path / "rdnet.ckpt")
    method, name = load_method(path)
    assert (method.family, name, method.config.prompt) == ("rdnet", "rdnet", prompt)
    with torch.no_grad():
        wanted = network(IMAGE)[-1]
    assert_same(layers_of(path), wanted)
    method.save_pretrained(tmp_path / "ours")
    assert_same(layers_of(tmp_path / "ours"), wanted)
    assert load_method(tmp_path / "ours")[0].config == method.config


def test_wrapped_bare_and_averaged_states_are_recognised(tmp_path: Path):
    network = tiny_network()
    with torch.no_grad():
        wanted = network(IMAGE)[-1]
    state = network.state_dict()
    wrapped = {f"module._orig_mod.{key}": value for key, value in state.items()}
    assert_same(layers_of(saved(wrapped, tmp_path / "wrapped.pt")), wanted)
    averaged = lightning_file(tiny_network(seed=5)) | {"model_ema": state}
    assert_same(layers_of(saved(averaged, tmp_path / "averaged.ckpt")), wanted)


def test_older_layout_gives_its_layers_the_right_way_round(tmp_path: Path):
    network = tiny_network()  # of the toolbox's order: what it calls T, the older training calls R
    main, classifier = older_files(network)
    path = saved(main, tmp_path / "rdnet.pth")
    other = str(saved(classifier, tmp_path / "cls_model.pth"))
    with torch.no_grad():
        first, second = network(IMAGE)[-1]
    method, _ = load_method(path, {"classifier": other})
    assert method.config.order == "reflection_first"
    assert_same(layers_of(path, {"classifier": other}), (second, first))
    method.save_pretrained(tmp_path / "ours")
    assert_same(layers_of(tmp_path / "ours"), (second, first))


def test_renamed_older_weights_are_put_right_by_the_setting(tmp_path: Path):
    network = tiny_network()
    path = saved(network.state_dict(), tmp_path / "renamed.pth")
    transmission, reflection = layers_of(path, {"order": "reflection_first"})
    assert_same((reflection, transmission), layers_of(path))


def test_mixed_up_layouts_are_one_line_faults(tmp_path: Path):
    network = tiny_network()
    main, classifier = older_files(network)
    older = saved(main, tmp_path / "older.pth")
    other = str(saved(classifier, tmp_path / "cls_model.pth"))
    newer = saved(lightning_file(network), tmp_path / "newer.ckpt")
    with pytest.raises(ModelError, match=r"older\.pth.*older layout.*cls_model\.pth.*'classifier'"):
        load_method(older)
    with pytest.raises(InputError, match=r"order.*older\.pth.*reflection first"):
        load_method(older, {"classifier": other, "order": "transmission_first"})
    with pytest.raises(InputError, match=r"classifier.*newer\.ckpt holds its classifier already"):
        load_method(newer, {"classifier": other})
    with pytest.raises(ModelError, match=r"newer\.ckpt: not RDNet's classifier"):
        load_method(older, {"classifier": str(newer)})
    with pytest.raises(ModelError, match=r"cls_model\.pth.*classifier alone"):
        load_method(other)
    both = saved({**main["icnn"], **network.state_dict()}, tmp_path / "both.pth")
    with pytest.raises(ModelError, match=r"both\.pth.*mixes the two RDNet layouts"):
        load_method(both)


def test_keys_that_do_not_fit_are_named(tmp_path: Path):
    content = lightning_file(tiny_network())
    state = content["state_dict"]
    state["net_g.strange.weight"] = state.pop("net_g.prompt.2.weight")
    with pytest.raises(ModelError, match=r"a\.ckpt.*missing: .*prompt\.2\.weight.*unexpected: .*strange"):
        load_method(saved(content, tmp_path / "a.ckpt"))
    content["state_dict"] = {key: value for key, value in state.items() if "baseball.layers" not in key}
    with pytest.raises(ModelError, match=r"b\.ckpt.*missing: .*(, .*){4} and \d+ more"):
        load_method(saved(content, tmp_path / "b.ckpt"))
    for key in [key for key in state if "subnet0.alpha" in key or "classifier.model.stages.1" in key]:
        del state[key]
    with pytest.raises(ModelError, match=r"c\.ckpt.*missing: .*(, .*){4} and \d+ more"):
        load_method(saved(content | {"state_dict": state}, tmp_path / "c.ckpt"))


def test_cut_file_is_refused_in_one_line(tmp_path: Path):
    path = saved(lightning_file(tiny_network()), tmp_path / "cut.ckpt")
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match=r"cut\.ckpt") as caught:
        load_method(path)
    assert "\n" not in str(caught.value)


def test_photos_come_back_at_their_own_size(tmp_path: Path):
    path = saved(lightning_file(tiny_network()), tmp_path / "rdnet.ckpt")
    photo = (np.random.default_rng(0).random((45, 71, 3)) * 255).astype(np.uint8)
    separation = Separator(load_method(path)[0], device="cpu", dtype="float32")(photo)
    for layer in (separation.transmission, separation.reflection):
        assert layer.size == (71, 45)


def test_a_file_at_hand_is_converted_once_and_then_found_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DEREFLECT_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ModelError, match=r"checkpoints\.mingjia\.li/rdnet-26\.4849\.ckpt.*--yes"):
        load_method("rdnet")
    network = tiny_network()
    path = saved(lightning_file(network), tmp_path / "rdnet.ckpt")
    said: list[str] = []
    folder = family("rdnet").fetch("rdnet", False, {"weights": str(path)}, said.append)
    assert (folder / "model.safetensors").is_file()
    path.unlink()
    with torch.no_grad():
        assert_same(layers_of("rdnet"), network(IMAGE)[-1])
    kept = tmp_path / "cache" / "rdnet" / "rdnet-26.4849.ckpt"
    assert kept.with_name(kept.name + ".sha256").is_file()


def test_nothing_is_fetched_without_consent_and_the_notice_says_what_would_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DEREFLECT_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"3,400 MB from https://.*licence: not stated.*no checksum"):
        family("rdnet").fetch("rdnet", False, {}, lambda words: None)
    assert CARDS["rdnet"].published

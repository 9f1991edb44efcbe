from pathlib import Path

import numpy as np
import pytest
import torch
from small_dsrnet import SMALL, small_dsrnet

from dereflect.catalog import family, load_method
from dereflect.errors import DereflectError, ModelError
from dereflect.methods.dsrnet.config import DSRNetConfig
from dereflect.methods.dsrnet.network import DSRNet
from dereflect.nn.vgg import LAST_CONVOLUTIONS, Vgg19
from dereflect.separator import Separator

IMAGE = torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def vgg() -> Vgg19:
    torch.manual_seed(3)
    return Vgg19(LAST_CONVOLUTIONS)


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory: pytest.TempPathFactory, vgg: Vgg19) -> str:
    path = tmp_path_factory.mktemp("vgg") / "vgg.pth"
    torch.save(vgg.state_dict(), path)
    return str(path)


def lightning_file(network: DSRNet, vgg: Vgg19) -> dict:
    """As the toolbox's trainer writes it: the network, the VGG-19 that it sees, and the loss's beside it."""
    features = {f"vgg.vgg_pretrained_{key}": value for key, value in vgg.state_dict().items()}
    beside = {"cri_perceptual.vgg.mean": torch.zeros(1, 3, 1, 1)}
    return {
        "state_dict": {f"net_g.{key}": value for key, value in network.state_dict().items()}
        | features
        | beside
    }


def saved(content, path: Path) -> Path:
    torch.save(content, path)
    return path


@torch.no_grad()
def assert_separates_like(network: DSRNet, vgg: Vgg19, source, options=None) -> None:
    shallow = Vgg19()
    shallow.load_state_dict(vgg.state_dict(), strict=False)
    found = load_method(source, options)[0](IMAGE)
    for layer, wanted in zip(found, network(IMAGE, shallow(IMAGE)), strict=False):
        assert (layer - wanted).abs().max() <= 1e-4 * wanted.abs().max()


def test_lightning_file_brings_its_features_and_is_converted(tmp_path: Path, vgg: Vgg19):
    network = small_dsrnet()
    path = saved(lightning_file(network, vgg), tmp_path / "dsr.ckpt")
    assert_separates_like(network, vgg, path)
    method, _ = load_method(path)
    assert method.family == "dsrnet"
    method.save_pretrained(tmp_path / "ours")
    assert_separates_like(network, vgg, tmp_path / "ours")
    keys = load_method(tmp_path / "ours")[0].saved_state()
    assert not [key for key in keys if ".seq_r." in key]
    assert [key for key in keys if ".seq_l." in key]


@pytest.mark.parametrize("shared_b", [False, True])
@pytest.mark.parametrize("place", [None, "weight"])
def test_the_authors_files_take_their_features_from_elsewhere(
    tmp_path: Path, monkeypatch, vgg: Vgg19, vgg_file: str, shared_b: bool, place: str | None
):
    config = DSRNetConfig(**{**vars(SMALL), "shared_b": shared_b, "encoder_blocks": (1, 2)})
    network = small_dsrnet(config=config)
    state = network.state_dict()
    path = saved({place: state, "epoch": 18} if place else state, tmp_path / "a.pt")
    assert_separates_like(network, vgg, path, {"vgg": vgg_file})
    assert load_method(path, {"vgg": "none"})[0].config == config
    monkeypatch.delenv("DEREFLECT_VGG19", raising=False)
    monkeypatch.setenv("DEREFLECT_CACHE", str(tmp_path / "empty"))
    with pytest.raises(ModelError, match="VGG-19 weights: are needed"):
        load_method(path)
    with pytest.raises(ModelError, match="conversion only"):
        load_method(path, {"vgg": "none"})[0](IMAGE)


def test_of_two_names_of_a_tensor_the_second_holds(tmp_path: Path, vgg: Vgg19, vgg_file: str):
    network, other = small_dsrnet(), small_dsrnet(seed=8)
    state = dict(network.state_dict())
    second = {key: value for key, value in other.state_dict().items() if ".seq_r." in key}
    method, _ = load_method(saved(state | second, tmp_path / "a.pt"), {"vgg": vgg_file})
    for key, value in method.network.state_dict().items():
        wanted = other if ".seq_l." in key or ".seq_r." in key else network
        assert torch.equal(value, wanted.state_dict()[key]), key


def test_keys_that_do_not_fit_are_named(tmp_path: Path, vgg: Vgg19):
    content = lightning_file(small_dsrnet(), vgg)
    state = content["state_dict"]
    state["net_g.strange.weight"] = state.pop("net_g.lrm.tail.0.weight")
    state["net_g.lrm.blocks_inter.0.other.seq_r.0.weight"] = torch.zeros(1)
    with pytest.raises(ModelError, match=r"a\.ckpt.*missing: lrm\.tail.*unexpected: .*strange\.weight"):
        load_method(saved(content, tmp_path / "a.ckpt"))
    kept = {key: value for key, value in state.items() if "coders" not in key}
    with pytest.raises(ModelError, match=r"b\.ckpt.*missing: .*(, .*){4} and \d+ more") as caught:
        load_method(saved({"state_dict": kept}, tmp_path / "b.ckpt"))
    assert "\n" not in str(caught.value)


def test_foreign_files_are_refused_in_one_line(tmp_path: Path):
    foreign = saved({"a": torch.zeros(1)}, tmp_path / "foreign.pt")
    with pytest.raises(DereflectError, match=r"foreign\.pt.*not a checkpoint of DSRNet") as caught:
        load_method("dsrnet", {"weights": str(foreign)})
    assert "\n" not in str(caught.value)


def test_photos_come_back_at_their_own_size(tmp_path: Path, vgg: Vgg19):
    path = saved(lightning_file(small_dsrnet(), vgg), tmp_path / "dsr.ckpt")
    photo = (np.random.default_rng(0).random((45, 71, 3)) * 255).astype(np.uint8)
    separation = Separator(load_method(path)[0], device="cpu", dtype="float32")(photo)
    for layer in (separation.transmission, separation.reflection):
        assert layer.size == (71, 45)


def test_a_file_at_hand_is_converted_once_and_then_found_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vgg: Vgg19
):
    monkeypatch.setenv("DEREFLECT_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ModelError, match=r"checkpoints\.mingjia\.li/dsr-25\.8915\.ckpt.*--yes"):
        load_method("dsrnet")
    network = small_dsrnet()
    path = saved(lightning_file(network, vgg), tmp_path / "dsr.ckpt")
    family("dsrnet").fetch("dsrnet", False, {"weights": str(path)}, lambda words: None)
    path.unlink()
    assert_separates_like(network, vgg, "dsrnet")


@pytest.mark.parametrize("wrong", [{"decoder_blocks": (1,)}, {"width": 0}, {"encoder_blocks": ()}])
def test_impossible_sizes_are_refused(wrong: dict):
    with pytest.raises(ModelError, match=next(iter(wrong))):
        DSRNetConfig(**wrong)

import json
from collections import Counter, OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_dsit import SMALL, small_dsit
from typer.testing import CliRunner

from dereflect.catalog import family, load_method
from dereflect.cli import app
from dereflect.errors import DereflectError, InputError, ModelError
from dereflect.evaluation.protocol import PROTOCOLS
from dereflect.evaluation.resizing import resized
from dereflect.methods.dsit.config import DSITConfig
from dereflect.methods.dsit.network import DSIT
from dereflect.separator import Separator

IMAGE = torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(1))


def lightning_file(network: DSIT) -> dict:
    """As the toolbox's trainer writes it: the network beside the loss's VGG-19, optimizer and schedule."""
    beside = {"cri_perceptual.vgg.vgg_pretrained_features.0.weight": torch.zeros(64, 3, 3, 3)}
    return {
        "epoch": 3,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": OrderedDict(
            {f"net_g.{key}": value for key, value in network.state_dict().items()} | beside
        ),
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-4}]}],
        "lr_schedulers": [{"milestones": Counter({150: 1})}],
        "hyper_parameters": {"opt": {"name": "dsit", "num_gpu": 1}},
    }


def saved(content, path: Path) -> Path:
    torch.save(content, path)
    return path


@torch.no_grad()
def assert_separates_like(network: DSIT, source, options=None) -> None:
    found = load_method(source, options)[0](IMAGE)
    for layer, wanted in zip(found, network(IMAGE), strict=False):
        assert (layer - wanted).abs().max() <= 1e-4 * wanted.abs().max()


def test_lightning_file_is_recognised_converted_and_loaded_back(tmp_path: Path):
    network = small_dsit()
    path = saved(lightning_file(network), tmp_path / "dsit.ckpt")
    assert_separates_like(network, path)
    method, name = load_method(path)
    assert (method.family, name) == ("dsit", "dsit")
    method.save_pretrained(tmp_path / "ours")
    assert_separates_like(network, tmp_path / "ours")
    assert load_method(tmp_path / "ours")[0].config == method.config


@pytest.mark.parametrize("wrap", ["bare", "weights", "params", "module."])
def test_other_files_of_a_network_are_recognised(tmp_path: Path, wrap: str):
    network = small_dsit()
    state = dict(network.state_dict())
    if wrap == "weights":  # the first repository's
        content = {"weights": state, "epoch": 66, "iterations": 7}
    elif wrap == "params":
        content = {"params": state}
    else:
        content = {("" if wrap == "bare" else wrap) + key: value for key, value in state.items()}
    assert_separates_like(network, saved(content, tmp_path / "a.pt"))


@pytest.mark.parametrize("window", [4, 6])
def test_sizes_are_read_from_the_keys(tmp_path: Path, window: int):
    config = DSITConfig(
        **{
            **vars(SMALL),
            "window": window,
            "attention_blocks": (1, 2, 1, 1, 1),
            "gated_blocks": (2, 1, 1, 1, 1),
        }
    )
    found = load_method(saved(small_dsit(config=config).state_dict(), tmp_path / "a.pt"))[0].config
    # Windows of 4 fit everywhere, so the picture's nominal side cannot be told and does not matter.
    assert found == (config if window == 6 else DSITConfig(**{**vars(config), "resolution": 384}))


def test_averaged_weights_are_passed_over(tmp_path: Path):
    network = small_dsit()
    content = lightning_file(network) | {"model_ema": small_dsit(seed=5).state_dict()}
    assert_separates_like(network, saved(content, tmp_path / "a.ckpt"))


def test_keys_that_do_not_fit_are_named(tmp_path: Path):
    content = lightning_file(small_dsit())
    state = content["state_dict"]
    state["net_g.strange.weight"] = state.pop("net_g.lrm.1.weight")
    with pytest.raises(ModelError, match=r"a\.ckpt.*missing: lrm\.1\.weight; unexpected: strange\.weight"):
        load_method(saved(content, tmp_path / "a.ckpt"))
    kept = {key: value for key, value in state.items() if not key.startswith("net_g.lib")}
    with pytest.raises(ModelError, match=r"b\.ckpt.*missing: .*(, .*){4} and \d+ more") as caught:
        load_method(saved(content | {"state_dict": kept}, tmp_path / "b.ckpt"))
    assert "\n" not in str(caught.value)


def test_cut_and_foreign_files_are_refused_in_one_line(tmp_path: Path):
    path = saved(lightning_file(small_dsit()), tmp_path / "cut.ckpt")
    path.write_bytes(path.read_bytes()[:-2000])
    foreign = saved({"a": torch.zeros(1)}, tmp_path / "foreign.pt")
    for source, options in ((path, {}), (foreign, {}), ("dsit", {"weights": str(foreign)})):
        with pytest.raises(DereflectError, match=r"cut\.ckpt|foreign\.pt") as caught:
            load_method(source, options)
        assert "\n" not in str(caught.value)


def test_photos_come_back_at_their_own_size(tmp_path: Path):
    path = saved(lightning_file(small_dsit()), tmp_path / "dsit.ckpt")
    photo = (np.random.default_rng(0).random((45, 71, 3)) * 255).astype(np.uint8)
    separation = Separator(load_method(path)[0], device="cpu", dtype="float32")(photo)
    for layer in (separation.transmission, separation.reflection):
        assert layer.size == (71, 45)


def test_its_protocol_feeds_multiples_of_32_as_the_original(tmp_path: Path):
    random = np.random.default_rng(0)
    for place in ("blended", "transmission_layer"):
        (tmp_path / "pairs" / place).mkdir(parents=True)
        pixels = random.integers(0, 256, (45, 71, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pairs" / place / "a.png")
    network = small_dsit()
    path = saved(network.state_dict(), tmp_path / "small.pt")
    command = ["evaluate", "--data", tmp_path / "pairs", "--model", path, "-o", tmp_path / "out"]
    options = ["--protocol", "dsit", "--dtype", "float32", "--device", "cpu"]
    done = CliRunner().invoke(app, [str(word) for word in [*command, *options]])
    assert done.exit_code == 0, done.output
    pictures = json.loads((tmp_path / "out" / "results.json").read_text())["pictures"]
    (found,) = (one for one in pictures if one["model"] == "small")

    protocol = PROTOCOLS["dsit"]
    blended, truth = (
        resized(np.asarray(Image.open(tmp_path / "pairs" / place / "a.png")), (64, 32))
        for place in ("blended", "transmission_layer")
    )
    with torch.no_grad():
        layer = network(torch.from_numpy(blended / np.float32(255)).permute(2, 0, 1)[None])[0][0]
    wanted = protocol.measure(layer.permute(1, 2, 0).numpy(), truth)
    assert found["layers"]["transmission"] == pytest.approx(wanted, rel=1e-3)


def test_half_precision_is_near(tmp_path: Path):
    network = small_dsit()
    method, _ = load_method(saved(network.state_dict(), tmp_path / "a.pt"))
    with torch.inference_mode():
        wanted = [layer.clone() for layer in method(IMAGE)]
        method.prepare(torch.device("cpu"), torch.bfloat16)
        for layer, exact in zip(method(IMAGE), wanted, strict=True):
            assert layer.dtype is torch.float32
            assert (layer - exact).abs().mean() < 0.1 * exact.std()


def test_training_form_lets_gradients_through_all_but_the_prior(tmp_path: Path):
    method, _ = load_method(saved(small_dsit().state_dict(), tmp_path / "a.pt"))
    transmission, reflection = method.train()(IMAGE)
    (transmission.sum() + reflection.sum()).backward()
    for name, parameter in method.network.named_parameters():
        assert (parameter.grad is not None) == (not name.startswith(("swin_prior.", "lrm."))), name


def test_a_file_at_hand_is_converted_once_and_then_found_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DEREFLECT_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ModelError, match=r"checkpoints\.mingjia\.li/dsit-26\.6959\.ckpt.*--yes"):
        load_method("dsit")
    with pytest.raises(ModelError, match=r"2,470 MB from https://.*licence: not stated.*no checksum"):
        family("dsit").fetch("dsit", False, {}, lambda words: None)
    network = small_dsit()
    path = saved(lightning_file(network), tmp_path / "dsit.ckpt")
    folder = family("dsit").fetch("dsit", False, {"weights": str(path)}, lambda words: None)
    assert (folder / "model.safetensors").is_file()
    path.unlink()
    assert_separates_like(network, "dsit")


def test_a_folder_of_another_method_is_refused(model_folder: Path):
    with pytest.raises(ModelError, match=r"is a model of 'default', not of DSIT"):
        load_method("dsit", {"weights": str(model_folder)})


@pytest.mark.parametrize(
    "wrong", [{"heads": (8, 8, 4, 2)}, {"width": 0}, {"resolution": 100}, {"heads": (7, 8, 4, 2, 1)}]
)
def test_impossible_sizes_are_refused(wrong: dict):
    with pytest.raises(ModelError, match=next(iter(wrong))):
        DSITConfig(**wrong)


def test_settings_have_names():
    with pytest.raises(InputError, match="weights"):
        family("dsit").read_options({"weigths": "x"})

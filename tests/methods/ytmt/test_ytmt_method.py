import re
import shutil
import sys
import types
from pathlib import Path

import pytest
import requests
import torch

from dereflect.catalog import family, load_method
from dereflect.errors import InputError, MissingExtra, ModelError
from dereflect.methods.ytmt.config import NAMED, YtmtConfig
from dereflect.methods.ytmt.method import YtmtMethod
from dereflect.methods.ytmt.two_stage import YtmtSystem, build_network
from dereflect.nn.vgg import Vgg19, load_vgg19


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.manual_seed(3)
    # PyTorch's default weights let signals fade within a few layers.
    state = {key: 2 * value for key, value in Vgg19().state_dict().items()}
    # Layers and a classifier that torchvision's file has and that are not used.
    extra = {"features.30.weight": torch.zeros(1), "classifier.0.weight": torch.zeros(1)}
    torch.save(state | extra, path)
    return path


@pytest.fixture(autouse=True)
def _no_vgg_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEREFLECT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DEREFLECT_VGG19", raising=False)


def narrow(name: str, **changes) -> YtmtConfig:
    return YtmtConfig(**{**NAMED[name].__dict__, "width": 8, **changes})


def official(config: YtmtConfig) -> dict:
    """A file as the authors' trainer writes it."""
    torch.manual_seed(1)
    content: dict = {"epoch": 7, "iterations": 99, "opt_g": {"state": {}, "param_groups": [{"lr": 1e-4}]}}
    for number in range(config.stages):
        state = dict(build_network(config).state_dict())
        if config.shape == "old":
            wide = config.in_channels
            for s in (1, 2):
                state[f"inc_{s}.fusion.weight"] = torch.zeros(wide, 2 * wide, 1, 1)
                state[f"inc_{s}.fusion.bias"] = torch.zeros(wide)
        content[f"icnn{number + 1 if number else ''}"] = state
    return content


@pytest.mark.parametrize("name", ["uas", "ucs", "uat", "uct", "ucs_old", "uct_old"])
def test_official_file_is_recognised_converted_and_loaded_back(
    name: str, tmp_path: Path, vgg_file: Path, caplog: pytest.LogCaptureFixture
):
    path = tmp_path / "official.pt"
    torch.save(official(narrow(name)), path)
    method, _ = load_method(path, {"vgg": str(vgg_file)})
    assert method.config == narrow(name)
    assert ("never reach the output" in caplog.text) == name.endswith("old")

    method.save_pretrained(tmp_path / "ours")
    again, _ = load_method(tmp_path / "ours")
    image = torch.rand(1, 3, 37, 29)
    system = YtmtSystem(narrow(name), load_vgg19(vgg_file))
    states = official(narrow(name))
    for key, stage in (("icnn", system.stage1), ("icnn2", system.stage2)):
        if stage is not None:
            stage.load_state_dict({k: v for k, v in states[key].items() if k in stage.state_dict()})
    with torch.no_grad():
        expected = system(image)
    for found in (method(image), again(image)):
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "letter"), [("us_relu", "P"), ("us_nofi", "N")])
def test_ablations_have_keys_of_other_heads_and_are_told_by_option(name: str, letter: str, tmp_path: Path):
    path = tmp_path / "ablation.pt"
    torch.save(official(narrow(name, hypercolumn=False)), path)
    method, _ = load_method(path, {"exchange": letter})
    assert method.config == narrow(name, hypercolumn=False)
    with pytest.raises(ModelError, match="does not fit its keys"):
        load_method(path, {"exchange": "A" if letter == "P" else "C"})


@pytest.mark.parametrize("name", ["pas", "pcs"])
def test_plain_network_is_told_by_its_keys(name: str, tmp_path: Path):
    path = tmp_path / "plain.pt"
    config = narrow(name, layers=5)
    torch.save(dict(build_network(config).state_dict()), path)  # a bare state dict
    method, _ = load_method(path)
    assert method.config == config
    layers = method(torch.rand(2, 3, 5, 7))
    assert [layer.shape for layer in layers] == [(2, 3, 5, 7)] * 2


def test_keys_that_fit_no_variant_are_named(tmp_path: Path):
    content = official(narrow("ucs", hypercolumn=False))
    state = content["icnn"]
    state["strange.weight"] = state.pop("down1.model.conv_l.model.2.weight")
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(
        ModelError, match=r"a\.pt.*missing: down1\.model\.conv_l.*unexpected: strange\.weight"
    ):
        load_method(tmp_path / "a.pt")
    content["icnn"] = {f"x.{key}": value for key, value in state.items()}
    torch.save(content, tmp_path / "b.pt")
    with pytest.raises(
        ModelError, match=r"fits no YTMT network.*missing: .*(, .*){4} and \d+ more.*unexpected: x\."
    ):
        load_method(tmp_path / "b.pt")


def test_without_vgg_the_error_says_where_to_put_it_and_offers_the_default(tmp_path: Path):
    path = tmp_path / "official.pt"
    torch.save(official(narrow("ucs")), path)
    with pytest.raises(ModelError, match=r"vgg19-dcbb9e9d\.pth.*cache.*DEREFLECT_VGG19.*'default'"):
        load_method(path)
    method, _ = load_method(path, {"vgg": "none"})
    method.save_pretrained(tmp_path / "ours")
    with pytest.raises(ModelError, match="vgg=PATH"):
        method(torch.rand(1, 3, 16, 16))
    with pytest.raises(ModelError, match=r"vgg19-dcbb9e9d\.pth"):
        load_method(tmp_path / "ours")


def test_vgg_is_found_by_option_environment_and_cache(
    vgg_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    expected = torch.load(vgg_file, weights_only=True)["features.0.weight"]

    def same(vgg: Vgg19) -> bool:
        return torch.equal(vgg.state_dict()["features.0.weight"], expected)

    assert same(load_vgg19(vgg_file))
    monkeypatch.setenv("DEREFLECT_VGG19", str(vgg_file))
    assert same(load_vgg19())
    with pytest.raises(InputError, match=r"nowhere\.pth"):
        load_vgg19(tmp_path / "nowhere.pth")
    with pytest.raises(InputError, match="no VGG-19 weights in this folder"):
        load_vgg19(tmp_path)


def test_vgg_with_a_wrong_checksum_is_refused(vgg_file: Path, tmp_path: Path):
    bad = tmp_path / "vgg19-dcbb9e9d.pth"
    bad.write_bytes(vgg_file.read_bytes())
    with pytest.raises(ModelError, match=r"vgg19-dcbb9e9d\.pth: wrong checksum .*fetch https://"):
        load_vgg19(tmp_path)


def test_named_model_says_what_to_fetch():
    with pytest.raises(ModelError, match=r"308 MB from https://drive.*575 MB.*models download ytmt --yes"):
        load_method("ytmt")


@pytest.fixture
def drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for gdown, which gives the file that is returned here."""
    path = tmp_path / "on_drive.pt"
    torch.save(official(narrow("uct_old")), path)

    def download(*, id: str, output: str, **_) -> None:
        assert id == "1yOKFzhhFUdbKzU3eafYKFLN7AdHqW4_7"
        shutil.copyfile(path, output)

    monkeypatch.setitem(sys.modules, "gdown", types.SimpleNamespace(download=download))
    return path


def fetch_ytmt(yes: bool = True, **sources: Path) -> Path:
    given = {part: str(path) for part, path in sources.items()}
    return family("ytmt").fetch("ytmt", yes, given, lambda words: None)


def kept(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache/ytmt").glob("*"))


def test_the_authors_file_comes_from_drive_and_is_found_by_name(drive: Path, vgg_file: Path, tmp_path: Path):
    fetch_ytmt(vgg=vgg_file)
    name = "ytmt_uct_sirs_68_077_00595364.pt"
    assert kept(tmp_path) == ["model", name, f"{name}.sha256"]
    assert load_method("ytmt")[0].config == narrow("uct_old")
    assert load_method("ytmt")[0].system.vgg is not None


def test_nothing_comes_from_drive_without_consent(drive: Path, vgg_file: Path, tmp_path: Path):
    with pytest.raises(ModelError, match=r"308 MB from https://drive.*not stated.*setting weights=FILE"):
        fetch_ytmt(yes=False, vgg=vgg_file)
    assert kept(tmp_path) == []


def test_a_file_that_was_fetched_by_hand_needs_neither_drive_nor_consent(
    drive: Path, vgg_file: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "gdown", None)
    fetch_ytmt(yes=False, weights=drive, vgg=vgg_file)
    assert load_method("ytmt")[0].config == narrow("uct_old")


def test_without_gdown_the_extra_and_the_way_by_hand_are_named(
    vgg_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setitem(sys.modules, "gdown", None)
    by_hand = r"\[drive\]', or open https://drive.google.com/file/d/1yO.*/view .*cache/ytmt/ytmt_uct.*\.pt$"
    with pytest.raises(MissingExtra, match=by_hand):
        fetch_ytmt(vgg=vgg_file)


def test_a_page_in_place_of_the_file_is_not_kept(drive: Path, vgg_file: Path, tmp_path: Path):
    drive.write_text("<!DOCTYPE html><p>Too many users have viewed this file")
    with pytest.raises(ModelError, match=r"a page instead of the file; .* in a browser"):
        fetch_ytmt(vgg=vgg_file)
    assert kept(tmp_path) == []


def test_without_a_connection_the_way_by_hand_is_named(vgg_file: Path, monkeypatch: pytest.MonkeyPatch):
    def download(**_) -> None:
        raise requests.ConnectionError("HTTPSConnectionPool and so on")

    monkeypatch.setitem(sys.modules, "gdown", types.SimpleNamespace(download=download))
    with pytest.raises(ModelError, match=r"no connection to drive\.google\.com; .* in a browser and put"):
        fetch_ytmt(vgg=vgg_file)


def test_a_vgg_that_is_not_there_is_named_before_anything_is_fetched(drive: Path, tmp_path: Path):
    with pytest.raises(InputError, match="no such file"):
        fetch_ytmt(vgg=tmp_path / "no.pth")
    assert kept(tmp_path) == []


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"shape": "X"}, "shape='X' is unknown"),
        ({"exchange": "Q"}, "exchange='Q'"),
        ({"shape": "old", "exchange": "A"}, "use C"),
        ({"stages": 3}, "stages=3"),
        ({"width": 12}, "multiple of 8"),
        ({"hypercolumn": True, "image_channels": 1}, "image_channels=1 must be 3"),
    ],
)
def test_impossible_configurations_are_refused(settings: dict, fault: str):
    with pytest.raises(ModelError, match=re.escape(fault)):
        YtmtConfig(**settings)


def test_unknown_option_is_refused(tmp_path: Path):
    torch.save(official(narrow("ucs", hypercolumn=False)), tmp_path / "a.pt")
    with pytest.raises(InputError, match="setting vg=x: ytmt has no such setting; did you mean vgg"):
        load_method(tmp_path / "a.pt", {"vg": "x"})


def test_fast_path_follows_training_and_gradients_take_the_plain_path():
    method = YtmtMethod(narrow("ucs", hypercolumn=False), None)
    image = torch.rand(1, 3, 16, 16)
    before = method.eval()(image)[0]
    method.train()
    method(image)[0].sum().backward()
    with torch.no_grad():
        for parameter in method.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad.sign()
        plain = method.system(image)[0]
    after = method.eval()(image)[0]
    torch.testing.assert_close(after, plain, atol=1e-5, rtol=0)
    assert (after - before).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["uct", "uat", "uct_old", "us_relu", "us_nofi", "pas"])
@pytest.mark.parametrize("size", [(16, 16), (17, 31), (35, 67)])
def test_fast_path_equals_plain_path_at_odd_sizes(name: str, size: tuple[int, int], vgg_file: Path):
    torch.manual_seed(0)
    config = narrow(name, width=16)
    method = YtmtMethod(config, load_vgg19(vgg_file) if config.hypercolumn else None).eval()
    image = torch.rand(2, 3, *size)
    with torch.no_grad():
        plain = method.system(image)
    for fast, exact in zip(method(image), plain, strict=True):
        torch.testing.assert_close(fast, exact, atol=1e-5, rtol=0)


def test_bfloat16_stays_near_float32(vgg_file: Path):
    torch.manual_seed(0)
    method = YtmtMethod(narrow("uct_old", width=16), load_vgg19(vgg_file)).eval()
    image = torch.rand(1, 3, 33, 40)
    exact = method(image)
    method.prepare(torch.device("cpu"), torch.bfloat16)
    for short, full in zip(method(image), exact, strict=True):
        assert short.dtype is torch.float32
        assert (short - full).abs().max() < 2 / 255


@pytest.mark.parametrize("name", ["uct", "uct_old"])
def test_fast_path_without_winograd_is_the_same(name: str, vgg_file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dereflect.nn.convolution.winograd_kernel", lambda: None)
    torch.manual_seed(0)
    method = YtmtMethod(narrow(name, width=16), load_vgg19(vgg_file)).eval()
    image = torch.rand(2, 3, 33, 46)
    with torch.no_grad():
        plain = method.system(image)
    for fast, exact in zip(method(image), plain, strict=True):
        torch.testing.assert_close(fast, exact, atol=1e-5, rtol=0)

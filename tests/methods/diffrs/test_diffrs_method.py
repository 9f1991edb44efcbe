import builtins
import logging
import sys

import pytest
import torch

pytest.importorskip("diffusers")

from diffusers import AutoencoderKL, LCMScheduler, UNet2DConditionModel
from tiny_diffrs import make_pipeline

from dereflect.catalog import load_method
from dereflect.errors import InputError, MissingExtra
from dereflect.methods.diffrs import estimate, method
from dereflect.methods.diffrs.explain import invented
from dereflect.methods.diffrs.fusion import FidelityFusion
from dereflect.methods.diffrs.settings import DiffRSSettings

SMALL = {"steps": "3", "resolution": "64"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("diffrs")
    make_pipeline().save_pretrained(path)
    return path


def blended(height: int = 30, width: int = 50) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_method_gives_the_pipelines_pictures_at_the_photos_size(folder):
    loaded, name = load_method(folder, SMALL)
    assert name == folder.name
    steps = []
    transmission, reflection = loaded(
        blended(), generator=seeded(), progress=lambda *done: steps.append(done)
    )
    assert steps == [(1, 3), (2, 3), (3, 3)]
    output = make_pipeline()(
        blended(), settings=DiffRSSettings(steps=3, resolution=64), generator=seeded(), output_type="pt"
    )
    assert torch.equal(transmission, output.transmission)
    assert torch.equal(reflection, output.reflection)
    assert transmission.shape == blended().shape


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (33, 47)])
def test_any_size_works(folder, shape):
    loaded, _ = load_method(folder, SMALL)
    assert loaded(blended(*shape), generator=seeded())[0].shape == (1, 3, *shape)


def test_every_switch_can_be_set(folder):
    options = SMALL | {
        "attention": "off",
        "optimisation": "no",
        "disjoint": "paper",
        "k": "0.5",
        "w": "0.25",
        "ensemble": "2",
        "aspect": "keep",
        "filter": "nearest-exact",
        "scheduler": "lcm",
    }
    loaded, _ = load_method(folder, options)
    expected = DiffRSSettings(
        steps=3,
        resolution=64,
        aspect="keep",
        filter="nearest-exact",
        attention=False,
        optimisation=False,
        disjoint="paper",
        k=0.5,
        w=0.25,
        ensemble=2,
    )
    assert loaded.config == expected
    assert isinstance(loaded.pipeline.scheduler, LCMScheduler)
    assert loaded(blended(), generator=seeded())[1].shape == blended().shape


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"step": "1"}, "step=1: diffrs has no such setting; did you mean steps"),
        ({"k": "much"}, "k=much: give a number"),
        ({"steps": "2.5"}, "steps=2.5: give a whole number"),
        ({"steps": "0"}, "steps=0"),
        ({"attention": "maybe"}, "give on or off"),
        ({"scheduler": "ddpm"}, "scheduler=ddpm: give one of ddim, lcm"),
        ({"offload": "maybe"}, "offload=maybe"),
        ({"resolution": "100"}, "multiple of 8; take 96 or 104"),
    ],
)
def test_wrong_settings_are_one_line(folder, options, words):
    with pytest.raises(InputError, match=words):
        load_method(folder, options)


def test_saving_and_loading_through_the_catalog(folder, tmp_path):
    loaded, _ = load_method(folder, SMALL)
    loaded.save_pretrained(tmp_path)
    again, _ = load_method(tmp_path, SMALL)
    for first, second in zip(
        loaded(blended(), generator=seeded()), again(blended(), generator=seeded()), strict=True
    ):
        assert torch.equal(first, second)


def test_preparing_keeps_the_synthesis_network_in_float32(folder):
    loaded, _ = load_method(folder, SMALL)
    exact = loaded(blended(), generator=seeded())[0]
    loaded.prepare(torch.device("cpu"), torch.bfloat16)
    assert loaded.pipeline.unet.dtype == loaded.pipeline.vae.dtype == torch.bfloat16
    assert loaded.pipeline.synthesis.dtype == loaded.pipeline.prompts.dtype == torch.float32
    close = loaded(blended(), generator=seeded())[0]
    assert close.dtype == torch.float32
    assert 0 < (exact - close).abs().mean() < 0.01


def test_a_dtype_that_the_device_lacks_is_refused_before_work(folder, monkeypatch):
    loaded, _ = load_method(folder, SMALL)

    def lacks(*_, **__):
        raise RuntimeError("not implemented for 'Half'")

    monkeypatch.setattr(torch.nn.functional, "conv2d", lacks)
    with pytest.raises(InputError, match="dtype float16: cannot be used on cpu"):
        loaded.prepare(torch.device("cpu"), torch.float16)


def test_too_little_memory_is_refused_with_the_size_that_fits(folder, monkeypatch):
    loaded, _ = load_method(folder, SMALL | {"resolution": "960"})
    forwards = []
    loaded.pipeline.unet.register_forward_hook(lambda *_: forwards.append(1))
    needed = estimate.working_bytes(loaded.pipeline, 960, 960, loaded.config)
    monkeypatch.setattr("dereflect.devices.available_memory", lambda device: needed // 2)
    with pytest.raises(InputError, match=r"960 x 960: needs about .* GB .*give setting resolution=640"):
        loaded(blended(), generator=seeded())
    monkeypatch.setattr("dereflect.devices.available_memory", lambda device: 0)
    with pytest.raises(InputError, match="no working size fits"):
        loaded(blended(), generator=seeded())
    assert not forwards
    fits = estimate.working_bytes(loaded.pipeline, 640, 640, loaded.config)
    assert fits <= needed // 2 < estimate.working_bytes(loaded.pipeline, 704, 704, loaded.config)


def test_a_long_run_is_announced_once_with_its_time(folder, monkeypatch, caplog):
    loaded, _ = load_method(folder, SMALL)
    monkeypatch.setattr(estimate, "convolution_rate", lambda *arguments, **options: 1e3)
    assert estimate.is_short(loaded.pipeline, 64, 64, loaded.config)
    assert not estimate.is_short(loaded.pipeline, 960, 960, DiffRSSettings(steps=1000))
    monkeypatch.setattr(estimate, "is_short", lambda *_: False)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            loaded(blended(), generator=seeded())
    assert len(caplog.messages) == 1
    assert "64 x 64 in 3 steps takes about" in caplog.messages[0]


def test_durations_in_words():
    assert [estimate.in_words(s) for s in (0.2, 40, 720, 6600)] == ["1 s", "40 s", "12 min", "1 h 50 min"]


def test_operations_at_full_size_are_those_of_stable_diffusion():
    """Against independent counts of the published networks: 512 pixels, both layers, in units of 1e12."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            in_channels=8,
            num_class_embeds=2,
            cross_attention_dim=1024,
            attention_head_dim=(5, 10, 20, 20),
            use_linear_projection=True,
        )
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
        )
        fusion = FidelityFusion()
    assert sum(parameter.numel() for parameter in unet.parameters()) == 865_924_804
    assert sum(parameter.numel() for parameter in fusion.parameters()) == 66_061_184
    pipeline = make_pipeline()
    pipeline.unet, pipeline.vae, pipeline.fusion = unet, vae, fusion
    prompts = pipeline.prompts.from_config({"tokens": 77, "width": 1024})
    pipeline.prompts = prompts
    counts = estimate.operations(pipeline, 512, 512, DiffRSSettings())
    assert counts["step"] / 1e12 == pytest.approx(1.85, abs=0.02)
    apart = estimate.operations(pipeline, 512, 512, DiffRSSettings(attention=False))
    assert apart["step"] / 1e12 == pytest.approx(1.61, abs=0.02)
    large = estimate.operations(pipeline, 960, 960, DiffRSSettings())
    assert large["step"] / 1e12 == pytest.approx(10.83, abs=0.1)
    assert large["encode"] / 1e12 == pytest.approx(4.23, abs=0.05)
    assert large["decode"] / 1e12 == pytest.approx(2 * 9.14 + 12.92, abs=0.3)


def test_maps_of_what_was_invented(folder):
    loaded, _ = load_method(folder, SMALL)
    photo = blended()
    with torch.inference_mode():
        maps = loaded.explain(photo, photo, torch.zeros_like(photo))
    assert set(maps) == {"unexplained", "invented"}
    for chart in maps.values():
        assert chart.shape == (1, 1, 30, 50)
        assert 0 <= chart.min() <= chart.max() <= 1
    assert maps["invented"].max() == 0  # a transmission that is the photo invents nothing
    assert maps["unexplained"].max() > 0  # a random synthesis network explains nothing


def test_unexplained_is_zero_where_the_network_mixes_the_layers_to_the_photo(folder, monkeypatch):
    loaded, _ = load_method(folder, SMALL)
    monkeypatch.setattr(type(loaded.pipeline.synthesis), "forward", lambda self, t, r: t)
    photo = blended()
    assert loaded.explain(photo, photo, torch.rand_like(photo))["unexplained"].max() == 0


def test_invented_is_what_the_reflection_cannot_account_for():
    def level(value):
        return torch.full((1, 3, 1, 1), value)

    cases = [(0.8, 0.5, 0.3, 0.0), (0.8, 0.5, 0.1, 0.2), (0.5, 0.9, 0.3, 0.4), (0.8, 0.7, 0.5, 0.0)]
    for photo, transmission, reflection, expected in cases:
        found = invented(level(photo), level(transmission), level(reflection)).item()
        assert found == pytest.approx(expected, abs=1e-6)


def test_a_missing_extra_names_the_install_command(folder, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] == "diffusers":
            raise ImportError("No module named 'diffusers'", name="diffusers")
        return real(name, *rest)

    for name in list(sys.modules):
        if name.startswith("dereflect.methods.diffrs.pipeline"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"pip install 'dereflect\[diffusion\]'"):
        load_method(folder)
    assert not method.recognises({"conv1.weight": torch.zeros(1)})

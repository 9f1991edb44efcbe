import json

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("diffusers")

from diffusers import DDPMScheduler, LCMScheduler
from tiny_diffrs import make_pipeline

from dereflect.errors import InputError, ModelError
from dereflect.methods.diffrs.attention import JointAttention, install_joint_attention, joint_attention
from dereflect.methods.diffrs.pipeline import DiffRSPipeline
from dereflect.methods.diffrs.settings import DiffRSSettings

FAST = DiffRSSettings(steps=6, resolution=64)


@pytest.fixture
def pipeline() -> DiffRSPipeline:
    return make_pipeline()


def picture(seed: int, height: int = 40, width: int = 56) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def seeded(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def run(pipeline, image=None, settings=FAST, **options):
    options = {"generator": seeded(), "output_type": "pt"} | options
    return pipeline(picture(0) if image is None else image, settings=settings, **options)


def test_save_and_load_give_the_same_pictures(pipeline, tmp_path):
    before = run(pipeline)
    pipeline.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["_class_name"] == "DiffRSPipeline"
    for part in ("unet", "vae", "fusion", "synthesis", "prompts"):
        assert list((tmp_path / part).glob("*.safetensors"))
    assert not list(tmp_path.rglob("*.bin"))
    again = DiffRSPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    after = run(again)
    assert torch.equal(before.transmission, after.transmission)
    assert torch.equal(before.reflection, after.reflection)


@pytest.mark.filterwarnings("ignore:.*torch_dtype")
def test_loading_in_half_precision_keeps_the_synthesis_network_exact(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path)
    again = DiffRSPipeline.from_pretrained(tmp_path, torch_dtype=torch.bfloat16)
    assert again.unet.dtype == again.vae.dtype == again.fusion.dtype == torch.bfloat16
    for ours, stored in zip(again.synthesis.parameters(), pipeline.synthesis.parameters(), strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, stored)


def test_tuple_and_dict_hold_the_same(pipeline):
    output = run(pipeline)
    transmission, reflection = run(pipeline, return_dict=False)
    assert torch.equal(output.transmission, transmission)
    assert torch.equal(output["reflection"], reflection)
    assert output.mixture is None


def test_a_batch_of_three_equals_three_singles(pipeline):
    images = [picture(seed) for seed in range(3)]
    together = run(pipeline, torch.cat(images), generator=[seeded(seed) for seed in (5, 6, 7)])
    for index, seed in enumerate((5, 6, 7)):
        alone = run(pipeline, images[index], generator=seeded(seed))
        for name in ("transmission", "reflection"):
            assert torch.allclose(together[name][index], alone[name][0], atol=2e-5)


def test_pictures_of_different_sizes_share_a_batch(pipeline):
    images = [picture(0)[0], picture(1, 80, 30)[0]]
    output = run(pipeline, images, generator=[seeded(), seeded()])
    assert [tuple(layer.shape) for layer in output.transmission] == [(3, 40, 56), (3, 80, 30)]
    with pytest.raises(InputError, match="one at a time"):
        run(pipeline, images, DiffRSSettings(steps=2, resolution=64, aspect="keep"))


@pytest.mark.parametrize("kind", ["pil", "array", "bytes"])
def test_kinds_of_pictures_agree(pipeline, kind):
    levels = torch.randint(0, 256, (3, 40, 56), dtype=torch.uint8, generator=seeded())
    array = levels.permute(1, 2, 0).numpy()
    image = {"pil": Image.fromarray(array), "array": array, "bytes": levels}[kind]
    expected = run(pipeline, levels.float()[None] / 255)
    assert torch.equal(run(pipeline, image).transmission, expected.transmission)


def test_output_kinds(pipeline):
    tensors = run(pipeline).transmission
    pil = run(pipeline, output_type="pil").transmission
    assert pil[0].size == (56, 40)
    arrays = run(pipeline, output_type="np").transmission
    assert np.allclose(arrays, tensors.permute(0, 2, 3, 1).numpy())
    latents = run(pipeline, output_type="latent")
    assert latents.transmission.shape == (1, 4, 8, 8)


def test_bfloat16_is_close_to_float32(pipeline):
    exact = run(pipeline)
    half = run(make_pipeline().to(torch.bfloat16))
    for name in ("transmission", "reflection"):
        assert half[name].dtype == torch.float32
        difference = (exact[name] - half[name]).abs()
        assert 0 < difference.mean() < 0.01


def test_stock_attention_is_back_after_a_run(pipeline):
    before = dict(pipeline.unet.attn_processors)
    run(pipeline)
    assert pipeline.unet.attn_processors == before

    def fail(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(pipeline, callback_on_step_end=fail)
    assert pipeline.unet.attn_processors == before


def test_only_self_attention_is_joined_and_installing_twice_changes_nothing(pipeline):
    install_joint_attention(pipeline.unet)
    install_joint_attention(pipeline.unet)
    for name, processor in pipeline.unet.attn_processors.items():
        assert isinstance(processor, JointAttention) == ("attn1" in name)
        assert not isinstance(getattr(processor, "inner", None), JointAttention)


def test_joined_attention_equals_separate_calls_with_both_sets_of_keys(pipeline):
    """The published form: each layer's queries, with keys and values ``[own ; other]``."""
    attention = next(m for name, m in pipeline.unet.named_modules() if name.endswith("attn1"))
    hidden = torch.randn(4, 9, attention.query_dim)

    def split(tensor):
        return tensor.view(4, 9, attention.heads, -1).transpose(1, 2)

    q, k, v = (split(layer(hidden)) for layer in (attention.to_q, attention.to_k, attention.to_v))
    other = torch.tensor([2, 3, 0, 1])
    keys, values = torch.cat([k, k[other]], dim=2), torch.cat([v, v[other]], dim=2)
    out = torch.nn.functional.scaled_dot_product_attention(q, keys, values)
    expected = attention.to_out[0](out.transpose(1, 2).reshape(4, 9, -1))
    attention.set_processor(JointAttention(attention.processor))
    assert torch.allclose(attention(hidden), expected, atol=1e-6)


def test_attention_switch_matters_and_an_odd_batch_is_refused(pipeline):
    on, off = run(pipeline), run(pipeline, settings=DiffRSSettings(steps=6, resolution=64, attention=False))
    assert not torch.allclose(on.transmission, off.transmission, atol=1e-4)
    odd = torch.randn(3, 8, 8, 8), 1, torch.randn(3, 7, 16)
    with joint_attention(pipeline.unet), pytest.raises(ModelError, match="both layers"):
        pipeline.unet(*odd, class_labels=torch.zeros(3, dtype=int))


def test_attention_slicing_gives_the_same(pipeline):
    whole = run(pipeline)
    pipeline.enable_attention_slicing(1)
    sliced = run(pipeline)
    assert torch.allclose(whole.transmission, sliced.transmission, atol=2e-5)


def test_offloaded_models_give_the_same(pipeline):
    whole = run(pipeline)
    pipeline.enable_model_cpu_offload(device="cpu")
    assert torch.equal(whole.transmission, run(pipeline).transmission)


def test_one_forward_a_step_and_no_backward_through_the_unet(pipeline):
    forwards, backwards = [], []
    pipeline.unet.register_forward_hook(lambda *_: forwards.append(1))
    for parameter in pipeline.unet.parameters():
        parameter.register_hook(lambda gradient: backwards.append(1))
    output = run(pipeline)
    assert len(forwards) == FAST.steps
    assert not backwards
    assert not output.transmission.requires_grad
    assert all(parameter.grad is None for parameter in pipeline.synthesis.parameters())


def test_works_in_inference_mode(pipeline):
    expected = run(pipeline)
    with torch.inference_mode():
        image = picture(0) * 1
        assert image.is_inference()
        assert torch.equal(run(pipeline, image).transmission, expected.transmission)


def test_ensemble_is_the_mean_of_independent_runs(pipeline):
    source = seeded()
    singles = [run(pipeline, generator=source).transmission for _ in range(2)]
    both = run(pipeline, settings=DiffRSSettings(steps=6, resolution=64, ensemble=2)).transmission
    assert not torch.allclose(singles[0], singles[1], atol=1e-3)
    assert torch.allclose(both, (singles[0] + singles[1]) / 2, atol=1e-5)


def test_a_callback_can_change_the_latents(pipeline):
    def zero(_, step, timestep, tensors):
        assert set(tensors) == {"latents"}
        return {"latents": torch.zeros_like(tensors["latents"])} if step == FAST.steps - 1 else None

    output = run(pipeline, callback_on_step_end=zero)
    assert output.latents_transmission.abs().max() == 0


def test_lcm_gives_each_picture_its_own_result(pipeline):
    pipeline.scheduler = LCMScheduler.from_config(pipeline.scheduler.config)
    settings = DiffRSSettings(steps=3, resolution=64)
    images = torch.cat([picture(0), picture(1)])
    together = run(pipeline, images, settings, generator=[seeded(1), seeded(2)])
    alone = run(pipeline, images[1:], settings, generator=[seeded(2)])
    assert torch.allclose(together.transmission[1], alone.transmission[0], atol=2e-5)
    same = run(pipeline, images[1:], settings, generator=seeded(2))
    assert torch.allclose(alone.transmission, same.transmission, atol=2e-5)


def test_kept_proportions_and_nearest_filter(pipeline):
    settings = DiffRSSettings(steps=2, resolution=64, aspect="keep", filter="nearest-exact")
    output = run(pipeline, picture(0, 33, 131), settings)
    assert output.transmission.shape == (1, 3, 33, 131)
    assert output.latents_transmission.shape == (1, 4, 4, 16)


def test_all_layers_on_request(pipeline):
    names = ["transmission", "reflection", "unrefined_transmission", "mixture"]
    output = run(pipeline, layers=names)
    assert all(output[name].shape == (1, 3, 40, 56) for name in names)
    assert not torch.equal(output.transmission, output.unrefined_transmission)
    plain = run(pipeline, settings=DiffRSSettings(steps=6, resolution=64, w=0), layers=names)
    assert torch.equal(plain.transmission, output.unrefined_transmission)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": 0}, "steps=0"),
        ({"steps": 1001}, "steps=1001"),
        ({"resolution": 68}, "multiple of 8; take 64 or 72"),
        ({"resolution": 0}, "multiple of 8"),
        ({"k": -0.1}, "k=-0.1"),
        ({"k": 1.5}, "k=1.5"),
        ({"k": float("nan")}, "k=nan"),
        ({"w": 1.2}, "w=1.2"),
        ({"ensemble": 0}, "ensemble=0"),
        ({"disjoint": "page"}, "off, code, paper"),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(InputError, match=words):
        DiffRSSettings(**settings)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ([], "no picture"),
        (torch.rand(4, 5, 5), "not a picture"),
        (np.zeros((5, 5)), "height, width, 3"),
        (3, "int"),
    ],
)
def test_what_is_no_picture_is_refused(pipeline, image, words):
    with pytest.raises(InputError, match=words):
        run(pipeline, image)


def test_fusion_is_needed_for_a_weight(pipeline):
    pipeline.fusion = None
    with pytest.raises(InputError, match=r"setting w=0\.8: .*give 0"):
        run(pipeline)
    run(pipeline, settings=DiffRSSettings(steps=2, resolution=64, w=0))


def test_parts_of_another_base_model_are_refused(pipeline):
    parts = dict(pipeline.components)
    epsilon = pipeline.scheduler.from_config(pipeline.scheduler.config, prediction_type="epsilon")
    for changed, words in (
        ({"scheduler": epsilon}, "v_prediction"),
        ({"scheduler": DDPMScheduler()}, "DDIM or LCM"),
        ({"unet": pipeline.unet.from_config(pipeline.unet.config, in_channels=4)}, "4 input channels"),
        ({"unet": pipeline.unet.from_config(pipeline.unet.config, cross_attention_dim=8)}, "width 16"),
    ):
        with pytest.raises(ModelError, match=words):
            DiffRSPipeline(**parts | changed)

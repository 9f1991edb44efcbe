import pytest
import torch

from dereflect.nn import losses
from dereflect.nn.discriminator import build_discriminator


def test_exclusion_has_its_floor_when_a_layer_is_constant():
    flat, busy = torch.full((1, 3, 16, 16), 0.5), torch.rand(1, 3, 16, 16)
    for pair in ((flat, busy), (busy, flat)):
        assert losses.exclusion_loss(*pair) == pytest.approx(1e-6**0.25, rel=1e-4)
        assert losses.exclusion_loss_of_paper(*pair) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("loss", [losses.exclusion_loss, losses.exclusion_loss_of_paper])
def test_exclusion_is_larger_for_shared_edges(loss):
    step, other = torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16)
    step[..., 8:], other[..., 4:] = 1, 1
    assert loss(step, step) > 1.5 * loss(step, other)


def test_pixel_loss_adds_its_parts():
    a, b = torch.rand(2, 3, 9, 8), torch.rand(2, 3, 9, 8)
    whole = losses.pixel_loss(a, b, 0.3, 0.6)
    assert whole == pytest.approx(
        float(0.3 * ((a - b) ** 2).mean() + 0.6 * losses.gradient_loss(a, b)), rel=1e-5
    )
    assert losses.gradient_loss(a, a + 1) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", ["sgan", "rsgan", "rasgan"])
def test_adversaries_want_opposite_things(kind: str):
    real, fake = torch.tensor([2.0, 3.0]), torch.tensor([-2.0, -1.0])
    assert losses.discriminator_loss(kind, real, fake) < losses.discriminator_loss(kind, fake, real)
    assert losses.generator_loss(kind, real, fake) > losses.generator_loss(kind, fake, real)


@pytest.mark.parametrize("kind", ["vgg", "patch"])
def test_discriminators_judge_each_picture_alone(kind: str):
    judge = build_discriminator(kind, width=32)
    pictures = torch.rand(3, 3, 64, 64)
    torch.testing.assert_close(judge(pictures)[1:2], judge(pictures[1:2]), atol=1e-5, rtol=1e-5)


def test_vgg_levels_before_the_rectifiers_lie_under_those_after_the_next():
    from dereflect.nn.vgg import LAST_CONVOLUTIONS, LEVEL_CHANNELS, Vgg19

    deep, shallow = Vgg19(LAST_CONVOLUTIONS), Vgg19()
    shallow.load_state_dict(deep.state_dict(), strict=False)
    image = torch.rand(1, 3, 32, 48)
    levels = deep(image)
    assert [level.shape[1] for level in levels] == list(LEVEL_CHANNELS)
    assert [tuple(level.shape[2:]) for level in levels] == [(32, 48), (16, 24), (8, 12), (4, 6), (2, 3)]
    assert all(level.min() < 0 for level in levels)
    next_layer = shallow.features[6](shallow.features[5](shallow.features[4](levels[0].relu())))
    assert torch.allclose(next_layer, shallow(image)[1])
    assert len(deep.state_dict()) == 32

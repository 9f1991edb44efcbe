import pytest
import torch

from dereflect.nn.mugi import ChannelNorm, CrossedGate, MuGIBlock


def test_channel_norm_normalises_each_pixel():
    norm = ChannelNorm(5)
    out = norm(torch.randn(2, 5, 3, 4) * 7 + 3)
    assert out.shape == (2, 5, 3, 4)
    torch.testing.assert_close(out.mean(1), torch.zeros(2, 3, 4), atol=1e-6, rtol=0)
    torch.testing.assert_close(out.var(1, unbiased=False), torch.ones(2, 3, 4), atol=1e-4, rtol=0)


def test_crossed_gate_takes_the_other_streams_second_half():
    x = torch.tensor([2.0, 3.0]).view(1, 2, 1, 1)
    y = torch.tensor([5.0, 7.0]).view(1, 2, 1, 1)
    left, right = CrossedGate()(x, y)
    assert (left.item(), right.item()) == (14.0, 15.0)


@pytest.mark.parametrize("shared_b", [True, False])
def test_fresh_block_is_the_identity_and_learns(shared_b):
    block = MuGIBlock(4, shared_b=shared_b)
    x, y = torch.randn(1, 4, 6, 5), torch.randn(1, 4, 6, 5)
    out_x, out_y = block(x, y)
    assert torch.equal(out_x, x)
    assert torch.equal(out_y, y)
    (out_x.square().sum() + out_y.square().sum()).backward()
    scalings = [name for name, p in block.named_parameters() if p.grad.abs().sum() > 0]
    assert sorted(scalings) == (["a_l", "a_r", "b"] if shared_b else ["a_l", "a_r", "b_l", "b_r"])

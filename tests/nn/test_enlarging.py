"""The bilinear enlargement by two and its gradient."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dereflect.nn.enlarging import double
from dereflect.nn.exchange import split


def _maps(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(2, 3, 4, 5, dtype=dtype, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("trained", [False, True])
def test_is_pytorchs_own_enlargement(align_corners: bool, trained: bool) -> None:
    x = _maps(torch.float32).requires_grad_(trained)
    expected = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=align_corners)
    assert torch.equal(double(x, align_corners), expected)


@pytest.mark.parametrize("align_corners", [False, True])
def test_gradient_is_that_of_the_enlargement(align_corners: bool) -> None:
    assert torch.autograd.gradcheck(lambda x: double(x, align_corners), _maps().requires_grad_())


class _TwoStreams(nn.Module):
    """The smallest network whose gradients Inductor lost: two streams enlarged, exchanged and gated."""

    def __init__(self) -> None:
        super().__init__()
        self.back = nn.ModuleList(nn.Conv2d(8, 8, 1) for _ in range(2))
        self.spatial = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
        self.gate = nn.Linear(16, 16)
        self.mix = nn.ModuleList(nn.Conv2d(8, 8, 1) for _ in range(2))

    def forward(self, half: Tensor, t: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        t, r = half + double(self.back[0](t)), half + double(self.back[1](r))
        (t_kept, t_given), (r_kept, r_given) = split(self.spatial[0](t)), split(self.spatial[1](r))
        t_new, r_new = t_kept + r_given, r_kept + t_given
        pooled = torch.cat([t_new.mean((2, 3)), r_new.mean((2, 3))], dim=1)
        gate_t, gate_r = torch.sigmoid(self.gate(pooled))[:, :, None, None].chunk(2, dim=1)
        return t + self.mix[0](t_new * gate_t), r + self.mix[1](r_new * gate_r)


@pytest.mark.slow
def test_inductor_keeps_the_gradients_behind_it() -> None:
    torch.manual_seed(0)
    network = _TwoStreams()
    inputs = torch.randn(2, 8, 32, 32), torch.randn(2, 8, 16, 16), torch.randn(2, 8, 16, 16)
    weights = list(network.parameters())

    def gradients(call: nn.Module) -> tuple[Tensor, ...]:
        t, r = call(*inputs)
        return torch.autograd.grad(t.square().sum() + r.abs().sum(), weights)

    own = gradients(network)
    for mine, compiled in zip(own, gradients(torch.compile(network)), strict=True):
        torch.testing.assert_close(compiled, mine, rtol=1e-3, atol=1e-3 * float(mine.abs().max()))

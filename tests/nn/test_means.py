"""The mean of a picture and its gradient."""

import torch

from dereflect.nn.means import picture_mean


def _pictures(trained: bool = True) -> torch.Tensor:
    numbers = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return numbers.to(memory_format=torch.channels_last).requires_grad_(trained)


def test_is_the_mean_with_and_without_a_gradient() -> None:
    for trained in (True, False):
        x = _pictures(trained=trained)
        assert torch.equal(picture_mean(x), x.mean((2, 3)))


def test_gradient_is_that_of_the_mean() -> None:
    assert torch.autograd.gradcheck(picture_mean, _pictures())


def test_gradient_is_not_written_out() -> None:
    x = _pictures()
    (gradient,) = torch.autograd.grad(picture_mean(x).sum(), x)
    assert gradient.stride()[2:] == (0, 0)

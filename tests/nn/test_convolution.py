import pytest
import torch
import torch.nn.functional as F

from dereflect.nn import convolution
from dereflect.nn.convolution import conv3x3, convolve_to_one, pointwise, prefers_winograd


@pytest.mark.parametrize("channels", [(16, 16), (3, 20), (40, 24)])
@pytest.mark.parametrize("size", [(25, 31), (8, 9), (48, 24)])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_same_as_the_direct_sum(channels: tuple[int, int], size: tuple[int, int], batch: int, bias: bool):
    x = torch.randn(batch, channels[0], *size)
    weight = torch.randn(channels[1], channels[0], 3, 3) / (9 * channels[0]) ** 0.5
    offset = torch.randn(channels[1]) if bias else None
    with torch.no_grad():
        found = conv3x3(x, weight, offset)
    exact = F.conv2d(x.double(), weight.double(), offset.double() if bias else None, padding=1)
    torch.testing.assert_close(found.double(), exact, atol=2e-4, rtol=0)


def test_only_float32_on_a_cpu_uses_winograd():
    assert not prefers_winograd(torch.bfloat16, torch.device("cpu"))
    assert not prefers_winograd(torch.float32, torch.device("meta"))


@pytest.mark.parametrize("at_once", [1, 1 << 20])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("narrow", [torch.float32, torch.bfloat16])
def test_convolution_to_one_channel(monkeypatch, at_once: int, bias: bool, narrow: torch.dtype):
    monkeypatch.setattr(convolution, "NUMBERS_AT_ONCE", at_once)
    x = torch.randn(2, 5, 9, 7).to(narrow)
    weight, offset = torch.randn(1, 5, 3, 3), torch.randn(1) if bias else None
    with torch.no_grad():
        found = convolve_to_one(x, weight, offset)
    torch.testing.assert_close(found, F.conv2d(x.float(), weight, offset, padding=1))


@pytest.mark.parametrize("channels", [(300, 260), (8, 300)])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_pointwise_is_the_1x1_convolution(channels: tuple[int, int], layout: torch.memory_format):
    conv = torch.nn.Conv2d(*channels, 1).requires_grad_(False)
    x = torch.randn(2, channels[0], 5, 7).contiguous(memory_format=layout)
    torch.testing.assert_close(pointwise(conv, x), conv(x), atol=1e-5, rtol=1e-5)

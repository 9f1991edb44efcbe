"""Fused chains against the single steps, in bfloat16 on bands of channels-last pictures."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

pytest.importorskip("numba")

from dereflect.nn import fused, threads
from dereflect.nn.bands import depthwise

BORDERS = [((1, 1), slice(0, 21)), ((1, 0), slice(0, 9)), ((0, 1), slice(9, 21)), ((0, 0), slice(4, 9))]


@pytest.fixture(autouse=True)
def no_gradient():
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def picture(channels: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.randn(2, channels, 21, 37).to(dtype).contiguous(memory_format=torch.channels_last)


def close(one: Tensor, other: Tensor) -> None:
    scale = other.float().abs().max()
    assert (one.float() - other.float()).abs().max() <= 2**-8 * scale


def channels_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    return norm(x.float().permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def test_norms():
    x, p = picture(48)[..., 3:15, :], picture(48)[..., 3:15, :]
    norm = nn.LayerNorm(48)
    norm.weight.copy_(torch.randn(48))
    norm.bias.copy_(torch.randn(48))
    close(fused.normed(x, norm), channels_norm(x, norm))
    scale = torch.randn(1, 48, 1, 1)
    added, normed = fused.add_norm(x, scale, p, norm)
    close(added, x + scale * p)
    close(normed, channels_norm(added, norm))
    y, z = picture(48, torch.float32)[..., 3:15, :], torch.randn(2, 12, 37, 48).bfloat16()
    wanted = channels_norm(y, norm).permute(0, 2, 3, 1) * F.silu(z.float())
    close(fused.gated_norm_(z, y, norm), wanted)


@pytest.mark.parametrize("channels", [96, 254])
@pytest.mark.parametrize(("border", "rows"), BORDERS)
def test_depthwise_gates(channels, border, rows):
    conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=channels == 96)
    x, y = picture(channels)[..., rows, :], picture(channels)[..., rows, :]
    taps = fused.Taps.of(conv)
    of_x, of_y = depthwise(conv, x.float(), border), depthwise(conv, y.float(), border)
    (a, b), (c, d) = of_x.chunk(2, 1), of_y.chunk(2, 1)
    close(fused.gelu_gate(x, taps, border), F.gelu(a) * b)
    if channels % 16:
        return
    close(fused.silu(x, taps, border), F.silu(of_x))
    u, v, sums = fused.crossed_gate(x, y, taps, border)
    close(u, a * d)
    close(v, c * b)
    close(sums.sum(1), torch.cat([(a * d).sum((2, 3)), (c * b).sum((2, 3))], 1))


@pytest.mark.parametrize("dilation", [1, 7, 25])
def test_dilated_and_pooled(dilation):
    conv = nn.Conv2d(48, 48, 3, padding=dilation, dilation=dilation, groups=48)
    x, out, scale = picture(48), picture(48), torch.rand(2)
    wanted = out.float() + scale[:, None, None, None] * F.leaky_relu(conv(x.float()), 0.2)
    close(fused.add_leaky_(out, x, fused.Taps.of(conv), dilation, scale), wanted)
    mean, top = fused.pooled(x)
    close(mean, x.float().mean((2, 3)))
    assert torch.equal(top, x.float().amax((2, 3)))


def test_without_openmp(monkeypatch):
    """The pool of threads does what OpenMP's threads do."""
    x = picture(48)
    wanted = fused.pooled(x)
    monkeypatch.setattr(threads, "_openmp", lambda: None)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert all(torch.equal(one, other) for one, other in zip(fused.pooled(x), wanted, strict=True))

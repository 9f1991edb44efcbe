"""Chains of layers in bands of rows, with results written where they belong."""

import pytest
import torch
from torch.nn import functional as F

from dereflect.nn import bands
from dereflect.nn.bands import in_bands


@pytest.fixture(autouse=True)
def narrow_bands(monkeypatch):
    monkeypatch.setattr(bands, "BYTES_AT_ONCE", 1)
    with torch.no_grad():
        yield


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("obeys", [True, False])
def test_a_chain_may_write_where_its_result_belongs(batch: int, obeys: bool):
    x = torch.randn(batch, 3, 11, 5)
    told = []

    def double(x, out):
        told.append(out[0] is not None)
        return torch.add(x, x, out=out[0]) if obeys else x + x

    (found,) = in_bands(double, (x,), 1, out_specs=[(3, x.dtype)])
    assert torch.equal(found, 2 * x)
    assert told == [batch == 1] * 3  # bands of several pictures are not in one piece


def test_two_results_with_a_halo():
    x = torch.randn(1, 2, 13, 6)
    kernel = torch.randn(2, 2, 3, 3)

    def chain(x, border, out):
        above, below = border
        y = F.conv2d(F.pad(x, (1, 1, above, below)), kernel)
        out[0].copy_(y)
        out[1].copy_(y.double())
        return out[0], out[1]

    one, other = in_bands(chain, (x,), 1, halo=1, out_specs=[(2, torch.float32), (2, torch.float64)])
    torch.testing.assert_close(one, F.conv2d(x, kernel, padding=1))
    assert torch.equal(one.double(), other)

"""The fast form against the plain network, whole and part by part, in bands and in bfloat16."""

import dataclasses

import pytest
import torch
from small_dmdnet import random_depth, wake
from torch import Tensor
from torch.nn import functional as F

from dereflect.methods.dmdnet.blocks import EFFN, PixelNorm
from dereflect.methods.dmdnet.config import DMDNetConfig
from dereflect.methods.dmdnet.dsmamba import DSMamba
from dereflect.methods.dmdnet.fast import mixing
from dereflect.methods.dmdnet.fast.blocks import with_effn
from dereflect.methods.dmdnet.fast.dsmamba import depth_terms, with_scanned
from dereflect.methods.dmdnet.fast.memory import compensation
from dereflect.methods.dmdnet.fast.mugi import interact
from dereflect.methods.dmdnet.fast.network import FastDMDNet
from dereflect.methods.dmdnet.forward_pass import ForwardPass
from dereflect.methods.dmdnet.memory import MECM
from dereflect.methods.dmdnet.network import DMDNet
from dereflect.methods.dmdnet.orders import OrderBook
from dereflect.nn import bands, fused
from dereflect.nn.mugi import MuGIBlock


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"transmission_scan": "raster", "reflection_scan": "regional"},
        {"state_space": "original"},
        {"position_code": False},
        {"memory": False},
        {"routing": "batch"},
    ],
)
def test_fast_form_equals_the_plain_one(small_config, switches):
    network = wake(DMDNet(dataclasses.replace(small_config, **switches))).double()
    depth = random_depth(64, 64, batch=2, dtype=torch.float64)
    image, books = torch.rand(2, 3, 60, 50, dtype=torch.float64), (OrderBook(), OrderBook())
    with torch.no_grad():
        wanted = network(image, depth, books[0])
    found = FastDMDNet(network)(image, depth, books[1])
    torch.testing.assert_close(found.transmission, wanted.transmission, atol=1e-10, rtol=0)
    torch.testing.assert_close(found.reflection, wanted.reflection, atol=1e-10, rtol=0)
    assert all(torch.equal(books[1].used[key], order) for key, order in books[0].used.items())


@pytest.mark.parametrize("rows", [1, 5])
def test_working_in_bands_of_rows_changes_nothing(small_config, monkeypatch, rows):
    separate = FastDMDNet(wake(DMDNet(small_config)).double())
    depth = random_depth(32, 64, batch=2, dtype=torch.float64)
    image = torch.rand(2, 3, 32, 64, dtype=torch.float64)
    whole = separate(image, depth)
    monkeypatch.setattr(bands, "BYTES_AT_ONCE", 1)
    monkeypatch.setattr(bands, "LEAST_ROWS", rows)
    parts = separate(image, depth)
    torch.testing.assert_close(parts.transmission, whole.transmission, atol=1e-10, rtol=0)
    torch.testing.assert_close(parts.reflection, whole.reflection, atol=1e-10, rtol=0)


CHANNELS = 16


class Parts:
    """One of each part in bfloat16, prepared as a method prepares it: what has one axis stays float32."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.mugi, self.norm = MuGIBlock(CHANNELS), PixelNorm(CHANNELS).body
        self.effn, self.scan = EFFN(CHANNELS), DSMamba(CHANNELS, DMDNetConfig())
        self.memory = MECM(CHANNELS, DMDNetConfig())
        for name in ("a_l", "a_r", "b"):
            getattr(self.mugi, name).copy_(torch.randn(1, CHANNELS, 1, 1))
        for module in (self.mugi, self.norm, self.effn, self.memory):
            for value in module.parameters():
                value.data = value.data.bfloat16() if value.dim() > 1 else value.data
        self.x, self.y, self.proximity = (self.picture() for _ in range(3))
        self.bank = F.normalize(torch.rand(4, CHANNELS, CHANNELS), dim=1)
        self.order = torch.randperm(19 * 9)[None]

    def picture(self) -> Tensor:
        x = torch.randn(1, CHANNELS, 19, 9).bfloat16()
        return x.contiguous(memory_format=torch.channels_last)

    def fast(self) -> list[Tensor]:
        run = ForwardPass(OrderBook([(self.order, self.order)]))
        terms = depth_terms(self.scan, self.proximity)
        return [
            *interact(self.mugi, self.x, self.y),
            with_effn(self.effn, self.norm, self.x),
            with_scanned(self.scan, self.norm, self.x, terms, 0, "T", run),
            compensation(self.memory, self.x, self.bank),
        ]

    def plain(self) -> list[Tensor]:
        x, y = self.x, self.y
        run = ForwardPass(OrderBook([(self.order, self.order)]))
        return [
            *self.mugi(x, y),
            x + self.effn(self.norm(x)),
            x + self.scan(self.norm(x), self.norm(y), self.proximity, run)[0],
            self.memory(x, self.bank, "bank")[0],
        ]


@pytest.fixture
def parts():
    pytest.importorskip("numba")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        made = Parts()
        assert fused.usable(made.x)
        yield made


def test_bfloat16_parts_equal_the_plain_ones(parts):
    for found, wanted in zip(parts.fast(), parts.plain(), strict=True):
        assert found.dtype == torch.bfloat16
        apart = found.float() - wanted.float()
        assert apart.abs().mean() < 0.01 * wanted.float().std()


def test_bfloat16_parts_in_bands_equal_the_whole(parts, monkeypatch):
    whole = parts.fast()
    monkeypatch.setattr(bands, "BYTES_AT_ONCE", 1)
    for found, wanted in zip(parts.fast(), whole, strict=True):
        torch.testing.assert_close(found, wanted, atol=2e-2, rtol=2e-2)


def close(one: Tensor, other: Tensor) -> None:
    assert (one.float() - other.float()).abs().max() <= 2**-8 * other.float().abs().max()


def test_two_best_slots():
    pytest.importorskip("numba")
    torch.manual_seed(0)
    scores, values, y, bias = (
        torch.randn(300, 96).bfloat16(),
        torch.randn(96, 48),
        torch.randn(300, 48),
        torch.ones(48),
    )
    y, others = y.bfloat16(), scores.float()
    first = others.argmax(1, keepdim=True)
    second = others.scatter(1, first, -torch.inf).argmax(1, keepdim=True)
    slots = torch.cat([first, second], 1)
    weights = torch.softmax(others.gather(1, slots), 1)
    wanted = F.leaky_relu(y.float() + bias + (weights[..., None] * values[slots]).sum(1), 0.2)
    close(mixing.mix_slots_(y, scores, values, bias), wanted)


def test_matrices_of_the_scan():
    pytest.importorskip("numba")
    torch.manual_seed(0)
    raw, depth, share = torch.randn(1, 5, 7, 70).bfloat16(), torch.randn(1, 64, 5, 7), torch.rand(1, 16, 5, 7)
    depth, share = depth.bfloat16(), share.bfloat16()
    B, C = torch.zeros(2, 9, 7, 16), torch.zeros(2, 9, 7, 16)
    band_of_B, band_of_C = (x[None].movedim(-1, 2)[..., 2:7, :] for x in (B, C))
    mixing.mix_matrices_(band_of_B, band_of_C, raw, 3, depth, share)
    own = raw.float().view(5, 7, 2, 35)[..., 3:].movedim(2, 0)
    of_depth = depth.float()[0].permute(1, 2, 0).view(5, 7, 2, 32).movedim(2, 0)
    weight = share.float()[0].permute(1, 2, 0).repeat(1, 1, 2)
    wanted = torch.lerp(own, of_depth, weight)
    close(torch.cat([B, C], -1)[:, 2:7], wanted)
    assert not B[:, :2].any()
    assert not B[:, 7:].any()

"""Depth-synergized state space (DSMamba): scans in an order that depth gives, with depth in the matrices.

The weights are common to both streams except A and D of the scan. The order comes from a proximity map fused
of features and depth; B and C of the scan are mixed, by a weight per pixel and state, with matrices made of
depth alone.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dereflect.methods.dmdnet.config import DMDNetConfig, Scan
from dereflect.methods.dmdnet.forward_pass import ForwardPass
from dereflect.methods.dmdnet.orders import scan_order
from dereflect.nn.selective_scan import selective_scan
from dereflect.nn.selective_scan.inputs import ScanInputs
from dereflect.nn.streams import TwoStreams

DIRECTIONS = 2


class DSMamba(nn.Module):
    """Order, scan both ways, gate; for each stream.

    Args:
        channels: C of the streams (the inner width is the same).
        config: switches of the scans and the state space.
    """

    def __init__(self, channels: int, config: DMDNetConfig) -> None:
        super().__init__()
        d, n, k = channels, config.states, DIRECTIONS
        rank = math.ceil(channels / 16)
        self.config, self.rank = config, rank
        self.x_proj_weight_channel = nn.Parameter(_linear_weights(k, rank + 2 * n, d))
        self.dt_projs_weight_channel = nn.Parameter(
            torch.empty(k, d, rank).uniform_(-(rank**-0.5), rank**-0.5)
        )
        self.dt_projs_bias_channel = nn.Parameter(_inverse_softplus_of_steps(k, d))
        decay = torch.arange(1, n + 1, dtype=torch.float32).log().repeat(k * d, 1)
        self.A_logs_ch_T, self.A_logs_ch_R = nn.Parameter(decay.clone()), nn.Parameter(decay)
        self.Ds_ch_T, self.Ds_ch_R = nn.Parameter(torch.ones(k * d)), nn.Parameter(torch.ones(k * d))
        self.depth_proj_weight_channel = nn.Parameter(_linear_weights(k, 2 * n, d))
        self.fuse = nn.Sequential(nn.Conv2d(2 * d, 1, 3, padding=1), nn.LeakyReLU(0.2))
        self.in_proj = nn.Linear(d, 2 * d, bias=False)
        self.conv2d = nn.Conv2d(d, d, 3, padding=1, groups=d)
        self.out_norm = nn.LayerNorm(d)
        self.out_proj = nn.Linear(d, d, bias=False)
        self.depth_encoder = nn.Sequential(nn.Conv2d(d, d, 1), nn.LeakyReLU(0.2))
        self.conv_depth_sig = nn.Sequential(nn.Conv2d(d, n, 1), nn.LeakyReLU(0.2))

    def forward(self, x_T: Tensor, x_R: Tensor, proximity: Tensor, run: ForwardPass) -> TwoStreams:
        """Both streams.

        Args:
            x_T: (B, C, H, W) features.
            x_R: the same.
            proximity: (B, C, H, W) proximity features.
            run: of this forward pass.

        Returns:
            Two tensors (B, C, H, W).
        """
        call, share = run.next_call(), self.depth_share(proximity)
        results = []
        for stream, x in (("T", x_T), ("R", x_R)):
            features, z = self.project(x)
            order, features = self.ordered(features, proximity, call, stream, run)
            y = selective_scan(**self.scan_inputs(stream, features, share, order)._asdict())
            y = y.unflatten(2, x.shape[2:]).permute(0, 2, 3, 1)  # (B, H, W, C)
            results.append(self.out_proj(self.out_norm(y) * F.silu(z)).permute(0, 3, 1, 2))
        return results[0], results[1]

    def project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features to be scanned (B, C, H, W), in float32 or wider, and the output gate (B, H, W, C)."""
        features, z = self.in_proj(x.permute(0, 2, 3, 1)).chunk(2, dim=-1)
        features = F.silu(self.conv2d(features.permute(0, 3, 1, 2)))
        return features.to(torch.promote_types(features.dtype, torch.float32)), z

    def fused_proximity(self, features: Tensor, proximity: Tensor) -> Tensor:
        """The map that orders the scan, (B, 1, H, W) in (0, 1); never in half precision, whose values tie."""
        joined = torch.cat([features, proximity], dim=1)
        with torch.autocast(joined.device.type, enabled=False):
            return torch.sigmoid(self.fuse(joined.to(cast(nn.Conv2d, self.fuse[0]).weight.dtype)))

    def ordered(
        self, features: Tensor, proximity: Tensor, call: int, stream: str, run: ForwardPass
    ) -> tuple[Tensor, Tensor]:
        """The scan order, and the features (with a gradient path to the ordering map if it is to learn)."""
        learned = self.config.ordering == "learned"
        with torch.set_grad_enabled(learned and torch.is_grad_enabled()):
            nearness = self.fused_proximity(features, proximity)
        order = run.order(call, stream, lambda: scan_order(nearness, self.scan_of(stream)))
        if learned:  # a straight-through one: the values stay
            features = features * (1 + nearness - nearness.detach())
        return order.to(features.device), features

    def scan_of(self, stream: str) -> Scan:
        """In which way a stream is scanned."""
        return self.config.transmission_scan if stream == "T" else self.config.reflection_scan

    def depth_share(self, proximity: Tensor) -> tuple[Tensor, Tensor] | None:
        """Depth's B and C (B, 2, 2N, L) and its weight in them (B, 1, N, L), in raster order, for both."""
        if self.config.state_space == "original":
            return None
        depth = self.depth_encoder(proximity).flatten(2)
        weight = torch.sigmoid(self.conv_depth_sig(proximity)).flatten(2)
        return torch.einsum("knc,bcl->bknl", self.depth_proj_weight_channel, depth), weight[:, None]

    def scan_inputs(
        self, stream: str, features: Tensor, share: tuple[Tensor, Tensor] | None, order: Tensor
    ) -> ScanInputs:
        """What the scan of a stream takes, both directions side by side, in raster order."""
        states, channels = self.config.states, features.shape[1]
        if self.config.position_code:
            height, width = features.shape[2:]
            code = position_code(height, width, channels, features.dtype, features.device)
            features = features + code.permute(2, 0, 1)
        u = features.flatten(2)  # (B, C, L)
        projected = torch.einsum("knc,bcl->bknl", self.x_proj_weight_channel, u)
        step, B, C = projected.split([self.rank, states, states], dim=2)  # (B, 2, rank or N, L)
        delta = torch.einsum("kcr,bkrl->bkcl", self.dt_projs_weight_channel, step)
        if share is not None:
            matrices, gamma = share
            depth_B, depth_C = matrices.chunk(2, dim=2)
            B, C = (1 - gamma) * B + gamma * depth_B, (1 - gamma) * C + gamma * depth_C
        bias = self.dt_projs_bias_channel.flatten()
        return ScanInputs(u, delta, self.rates(stream), B, C, self.skips(stream), bias, True, order)

    def rates(self, stream: str) -> Tensor:
        """A of a stream's scan, (2C, N)."""
        return -torch.exp(self.A_logs_ch_T if stream == "T" else self.A_logs_ch_R)

    def skips(self, stream: str) -> Tensor:
        """D of a stream's scan, (2C,)."""
        return self.Ds_ch_T if stream == "T" else self.Ds_ch_R


def position_code(
    height: int, width: int, channels: int, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> Tensor:
    """Sinusoidal code of the pixel position, for adding to (B, H, W, channels).

    With even widths only the column enters: the code is sin and cos of the column at floor(channels / 2)
    frequencies each, cut to `channels` entries; an odd width keeps one entry of the row.

    Returns:
        (H, W, channels), or (1, W, channels) where the row does not enter.
    """
    count = channels // 2
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    frequency = 10000.0 ** (-torch.arange(count, dtype=wide, device=device) / count)
    column = torch.arange(width, dtype=wide, device=device)[:, None] / max(width - 1, 1) * frequency
    code = torch.cat([column.sin(), column.cos()], dim=1)[None]  # (1, W, 2 * count)
    if 2 * count < channels:
        row = torch.arange(height, dtype=wide, device=device)[:, None] / max(height - 1, 1) * frequency[:1]
        code = torch.cat([code.expand(height, -1, -1), row.sin()[:, None].expand(-1, width, -1)], dim=2)
    return code.to(dtype)


def _linear_weights(directions: int, out_features: int, in_features: int) -> Tensor:
    layers = [nn.Linear(in_features, out_features, bias=False) for _ in range(directions)]
    return torch.stack([layer.weight.detach() for layer in layers])


def _inverse_softplus_of_steps(
    directions: int, channels: int, low: float = 1e-3, high: float = 0.1
) -> Tensor:
    """Bias for which softplus gives step sizes spread log-uniformly between `low` and `high`."""
    steps = torch.exp(torch.empty(directions, channels).uniform_(math.log(low), math.log(high))).clamp(
        min=1e-4
    )
    return steps + torch.log(-torch.expm1(-steps))

"""Depth-synergized state space (DSMamba): both streams scanned in an order that depth gives, with depth in
the matrices.

The weights are common to both streams except A and D of the scan. The order comes from a proximity map fused
of features and depth; B and C of the scan are mixed, by a weight per pixel and state, with matrices made of
depth alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dereflect.methods.dmdnet.config import DMDNetConfig
from dereflect.methods.dmdnet.orders import OrderBook, scan_order
from dereflect.nn.selective_scan import selective_scan

DIRECTIONS = 2


@dataclass(frozen=True)
class DepthTerms:
    """What the depth map contributes to the scans of both streams, in raster order."""

    proximity_score: Tensor
    """(B, 1, H, W): the depth half of the convolution that fuses features and depth into the ordering map."""
    matrices: Tensor | None
    """(B, L, 2, 2N): depth's B and C for both directions."""
    weight: Tensor | None
    """(B, L, 1, N): share of depth in B and C."""


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

    def depth_terms(self, proximity: Tensor) -> DepthTerms:
        """Depth's share of the work, done once for both streams.

        Args:
            proximity: (B, C, H, W) proximity features.
        """
        score = self._fuse_half(proximity, depth=True)
        if self.config.state_space == "original":
            return DepthTerms(score, None, None)
        encoded = self.depth_encoder(proximity).permute(0, 2, 3, 1).flatten(1, 2)  # (B, L, C)
        matrices = F.linear(encoded, self.depth_proj_weight_channel.flatten(0, 1))
        weight = torch.sigmoid(self.conv_depth_sig(proximity)).permute(0, 2, 3, 1).flatten(1, 2)
        return DepthTerms(score, matrices.unflatten(-1, (DIRECTIONS, -1)), weight[:, :, None])

    def forward(
        self, x: Tensor, terms: DepthTerms, stream: str, call: int = 0, orders: OrderBook | None = None
    ) -> Tensor:
        """One stream.

        Args:
            x: (B, C, H, W) normalised features.
            terms: of the proximity map at the same size.
            stream: "T" or "R".
            call: number of this call in the forward pass, for `orders`.
            orders: where to find forced orders and to note the used ones.

        Returns:
            (B, C, H, W).
        """
        batch, channels, height, width = x.shape
        tokens = x.permute(0, 2, 3, 1)  # (B, H, W, C)
        to_scanned, to_gate = self.in_proj.weight.chunk(2)
        features = F.silu(self.conv2d(F.linear(tokens, to_scanned).permute(0, 3, 1, 2)))
        order, features = self._order(features, terms, stream, call, orders)
        u = features.permute(0, 2, 3, 1)
        if self.config.position_code:
            u = u + position_code(height, width, channels, u.dtype, u.device)
        u = u.reshape(batch, height * width, channels)
        del features
        y = self._scan(u, terms, stream, order)
        gate = F.silu(F.linear(tokens, to_gate)).flatten(1, 2)
        out = self.out_proj(self.out_norm(y).to(gate.dtype) * gate)
        return out.view(batch, height, width, channels).permute(0, 3, 1, 2)

    def _fuse_half(self, x: Tensor, depth: bool) -> Tensor:
        """The ordering convolution over features or depth alone (their sum is the whole), never in half."""
        channels = x.shape[1]
        conv = cast(nn.Conv2d, self.fuse[0])
        weight = conv.weight[:, channels:] if depth else conv.weight[:, :channels]
        with torch.autocast(x.device.type, enabled=False):
            return F.conv2d(x.to(weight.dtype), weight, conv.bias if depth else None, padding=1)

    def _order(
        self, features: Tensor, terms: DepthTerms, stream: str, call: int, orders: OrderBook | None
    ) -> tuple[Tensor, Tensor]:
        """The scan order, and the features (with a gradient path to the ordering map if it is to learn)."""
        learned = self.config.ordering == "learned"
        order = None if orders is None else orders.lookup(call, stream)
        if order is None or learned:
            with torch.set_grad_enabled(learned and torch.is_grad_enabled()):
                fused = torch.sigmoid(
                    F.leaky_relu(self._fuse_half(features, False) + terms.proximity_score, 0.2)
                )
            if order is None:
                order = scan_order(
                    fused, self.config.transmission_scan if stream == "T" else self.config.reflection_scan
                )
            if learned:
                features = features * (1 + fused - fused.detach())
        if orders is not None:
            orders.used[call, stream] = order
        return order.to(features.device), features

    def _scan(self, u: Tensor, terms: DepthTerms, stream: str, order: Tensor) -> Tensor:
        """(B, L, C) in raster order to the sum of both directions, (B, L, C) in raster order."""
        states = self.config.states
        raw = F.linear(u, self.x_proj_weight_channel.flatten(0, 1)).unflatten(-1, (DIRECTIONS, -1))
        step, matrices = raw[..., : self.rank], raw[..., self.rank :]  # (B, L, 2, rank), (B, L, 2, 2N)
        weight = self.dt_projs_weight_channel.transpose(1, 2)
        delta = step.transpose(1, 2) @ weight.to(step.dtype)  # (B, 2, L, C)
        if terms.matrices is not None and terms.weight is not None:
            share = torch.cat([terms.weight, terms.weight], dim=-1)
            matrices = torch.lerp(matrices, terms.matrices, share)
            del share
        B, C = (m.transpose(1, 2).contiguous() for m in matrices.split(states, dim=-1))  # (B, 2, L, N)
        del raw, step, matrices  # the largest pictures are bound by what is alive during the scan
        A_log, D = (self.A_logs_ch_T, self.Ds_ch_T) if stream == "T" else (self.A_logs_ch_R, self.Ds_ch_R)
        y = selective_scan(
            u.transpose(1, 2),
            delta.transpose(2, 3),
            -torch.exp(A_log),
            B.transpose(2, 3),
            C.transpose(2, 3),
            D,
            self.dt_projs_bias_channel.flatten(),
            True,
            order,
        )
        return y.transpose(1, 2)


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

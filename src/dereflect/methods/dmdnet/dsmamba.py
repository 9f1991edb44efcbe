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
from dereflect.nn import fused
from dereflect.nn.bands import Border, Into, Part, depthwise, in_bands
from dereflect.nn.convolution import convolve_to_one
from dereflect.nn.selective_scan import selective_scan

DIRECTIONS = 2


@dataclass(frozen=True)
class DepthTerms:
    """What the depth map contributes to the scans of both streams, in raster order."""

    proximity_score: Tensor
    """(B, 1, H, W): the depth half of the convolution that fuses features and depth into the ordering map."""
    matrices: Tensor | None
    """(B, 4N, H, W): depth's B and C for one direction, then for the other."""
    weight: Tensor | None
    """(B, N, H, W): share of depth in B and C."""


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

        def chain(proximity: Tensor) -> tuple[Tensor, Tensor]:
            encoded = self.depth_encoder(proximity).permute(0, 2, 3, 1)
            matrices = F.linear(encoded, self.depth_proj_weight_channel.flatten(0, 1))
            return matrices.permute(0, 3, 1, 2), torch.sigmoid(self.conv_depth_sig(proximity))

        numbers = 3 * proximity.shape[1] + 6 * self.config.states
        return DepthTerms(score, *in_bands(chain, (proximity,), numbers))

    def forward(
        self,
        x: Tensor,
        terms: DepthTerms,
        stream: str,
        call: int = 0,
        orders: OrderBook | None = None,
        norm: nn.Module | None = None,
    ) -> Tensor:
        """One stream.

        Args:
            x: (B, C, H, W) features.
            terms: of the proximity map at the same size.
            stream: "T" or "R".
            call: number of this call in the forward pass, for `orders`.
            orders: where to find forced orders and to note the used ones.
            norm: if given, the result is x + self(norm(x)).

        Returns:
            (B, C, H, W).
        """
        channels, (height, width) = x.shape[1], x.shape[2:]
        to_scanned, to_gate = self.in_proj.weight.chunk(2)
        table = fused.taps(self.conv2d) if fused.usable(x) else None

        def before_scan(x: Tensor, border: Border, into: Into) -> Tensor:
            tokens = (x if norm is None else norm(x)).permute(0, 2, 3, 1)
            scanned = F.linear(tokens, to_scanned).permute(0, 3, 1, 2)
            if table is not None:
                return fused.silu(scanned, table, border, into[0])
            return F.silu(depthwise(self.conv2d, scanned, border))

        def after_scan(x: Tensor, y: Tensor, into: Into) -> Tensor:
            tokens = (x if norm is None else norm(x)).permute(0, 2, 3, 1)
            gate = F.linear(tokens, to_gate)
            if table is None:
                gated = self.out_norm(y.permute(0, 2, 3, 1)).to(gate.dtype) * F.silu(gate)
            else:
                after = self.out_norm
                gated = fused.gated_norm_(gate, y, after.weight, after.bias, after.eps)
            out = self.out_proj(gated)
            out = out.permute(0, 3, 1, 2)
            if norm is None or into[0] is None:
                return out if norm is None else x + out
            return torch.add(x, out, out=into[0])

        scanned_in = torch.promote_types(x.dtype, torch.float32)
        (features,) = in_bands(
            before_scan, (x,), 4 * channels, halo=1, dtype=scanned_in, rooms=[(channels, scanned_in)]
        )
        order, features = self._order(features, terms, stream, call, orders)
        if self.config.position_code:
            code = position_code(height, width, channels, features.dtype, features.device)
            code = code.permute(2, 0, 1)
            features = features + code if torch.is_grad_enabled() else features.add_(code)
        y = self._scan(features, terms, stream, order)
        del features
        return in_bands(after_scan, (x, y), 6 * channels, rooms=[(channels, x.dtype)])[0]

    def _fuse_half(self, x: Tensor, depth: bool) -> Tensor:
        """The ordering convolution over features or depth alone (their sum is the whole), never in half."""
        channels = x.shape[1]
        conv = cast(nn.Conv2d, self.fuse[0])
        weight = conv.weight[:, channels:] if depth else conv.weight[:, :channels]
        with torch.autocast(x.device.type, enabled=False):
            bias = conv.bias if depth else None
            if x.device.type == "cpu" and not torch.is_grad_enabled():
                return convolve_to_one(x, weight, bias)
            return F.conv2d(x.to(weight.dtype), weight, bias, padding=1)

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
        """(B, C, H, W) to the sum of both directions, (B, C, H, W)."""
        states, rank = self.config.states, self.rank
        depth = [] if terms.matrices is None or terms.weight is None else [terms.matrices, terms.weight]
        quick = bool(depth) and len(u) == 1 and states == fused.LANES and fused.usable(*depth)
        mixed = tuple(u.new_empty(DIRECTIONS, *u.shape[2:], states) for _ in "BC") if quick else ()
        top = 0

        def chain(u: Tensor, *depth: Tensor) -> tuple[Part, ...]:
            nonlocal top
            raw = F.linear(u.permute(0, 2, 3, 1), self.x_proj_weight_channel.flatten(0, 1))
            if quick:
                fused.mix_matrices_((mixed[0], mixed[1]), top, raw, rank, *depth)
                top += raw.shape[1]
            raw = raw.unflatten(-1, (DIRECTIONS, -1)).movedim(-2, 1)  # (B, 2, h, W, rank + 2N)
            step, matrices = raw[..., :rank].movedim(-1, 2), raw[..., rank:]
            if quick:
                return (step,)
            if depth:
                of_depth, share = (part.permute(0, 2, 3, 1) for part in depth)
                of_depth = of_depth.unflatten(-1, (DIRECTIONS, -1)).movedim(-2, 1)
                matrices = torch.lerp(matrices, of_depth, torch.cat([share, share], dim=-1)[:, None])
            B, C = matrices.split(states, dim=-1)
            return step, B.movedim(-1, 2), C.movedim(-1, 2)

        numbers = 2 * u.shape[1] + 2 * rank + 12 * states
        step, *rest = in_bands(chain, (u, *depth), numbers, dtype=u.dtype)  # (B, 2, rank, H, W)
        B, C = (x[None].movedim(-1, 2) for x in mixed) if quick else rest
        A_log, D = (self.A_logs_ch_T, self.Ds_ch_T) if stream == "T" else (self.A_logs_ch_R, self.Ds_ch_R)
        y = selective_scan(
            u.flatten(2),
            step.flatten(3),
            -torch.exp(A_log),
            B.flatten(3),
            C.flatten(3),
            D,
            self.dt_projs_bias_channel.flatten(),
            True,
            order,
            delta_weight=self.dt_projs_weight_channel.flatten(0, 1),
        )
        return y.unflatten(2, u.shape[2:])


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

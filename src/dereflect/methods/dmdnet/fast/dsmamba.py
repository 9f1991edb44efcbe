"""Fast form of the depth-synergized state space: one stream at a time, in bands of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dereflect.methods.dmdnet.dsmamba import DIRECTIONS, DSMamba, position_code
from dereflect.methods.dmdnet.fast import mixing
from dereflect.methods.dmdnet.fast.chains import chains_for
from dereflect.methods.dmdnet.forward_pass import ForwardPass
from dereflect.methods.dmdnet.orders import scan_order
from dereflect.nn.bands import Border, Out, Part, in_bands
from dereflect.nn.convolution import convolve_to_one
from dereflect.nn.mugi import ChannelNorm
from dereflect.nn.selective_scan import selective_scan


@dataclass(frozen=True)
class DepthTerms:
    """What the depth map contributes to the scans of both streams, in raster order."""

    score: Tensor
    """(B, 1, H, W): the depth half of the convolution that fuses features and depth into the ordering map."""
    matrices: Tensor | None
    """(B, 4N, H, W): depth's B and C for one direction, then for the other."""
    weight: Tensor | None
    """(B, N, H, W): share of depth in B and C."""


def depth_terms(module: DSMamba, proximity: Tensor) -> DepthTerms:
    """Depth's share of the work, done once for both streams; proximity is (B, C, H, W)."""
    score = _half_score(module, proximity, depth=True)
    if module.config.state_space == "original":
        return DepthTerms(score, None, None)

    def chain(proximity: Tensor) -> tuple[Tensor, Tensor]:
        encoded = module.depth_encoder(proximity).permute(0, 2, 3, 1)
        matrices = F.linear(encoded, module.depth_proj_weight_channel.flatten(0, 1))
        return matrices.permute(0, 3, 1, 2), torch.sigmoid(module.conv_depth_sig(proximity))

    wide = 3 * proximity.shape[1] + 6 * module.config.states
    return DepthTerms(score, *in_bands(chain, (proximity,), wide))


def with_scanned(
    module: DSMamba, norm: ChannelNorm, x: Tensor, terms: DepthTerms, call: int, stream: str, run: ForwardPass
) -> Tensor:
    """x + the module's result for norm(x), of one stream.

    Args:
        module: the state space.
        norm: what goes before it.
        x: (B, C, H, W) features.
        terms: of the proximity map at the same size.
        call: number of this call in the forward pass.
        stream: "T" or "R".
        run: of this forward pass.

    Returns:
        (B, C, H, W).
    """
    channels, chains = x.shape[1], chains_for(x)
    to_scanned, to_gate = module.in_proj.weight.chunk(2)

    def before_scan(x: Tensor, border: Border, out: Out) -> Tensor:
        scanned = F.linear(chains.norm(norm, x).permute(0, 2, 3, 1), to_scanned)
        return chains.silu(module.conv2d, scanned.permute(0, 3, 1, 2), border, out[0])

    def after_scan(x: Tensor, y: Tensor, out: Out) -> Tensor:
        gate = F.linear(chains.norm(norm, x).permute(0, 2, 3, 1), to_gate)
        result = module.out_proj(chains.gated_norm(module.out_norm, y, gate)).permute(0, 3, 1, 2)
        return torch.add(x, result, out=out[0])

    wide = torch.promote_types(x.dtype, torch.float32)
    (features,) = in_bands(before_scan, (x,), 4 * channels, halo=1, dtype=wide, out_specs=[(channels, wide)])

    def computed_order() -> Tensor:
        score = _half_score(module, features, depth=False) + terms.score
        return scan_order(torch.sigmoid(F.leaky_relu(score, 0.2)), module.scan_of(stream))

    order = run.order(call, stream, computed_order).to(x.device)
    if module.config.position_code:
        height, width = x.shape[2:]
        code = position_code(height, width, channels, features.dtype, features.device)
        features.add_(code.permute(2, 0, 1))
    y = _scanned(module, features, terms, stream, order)
    return in_bands(after_scan, (x, y), 6 * channels, out_specs=[(channels, x.dtype)])[0]


def _half_score(module: DSMamba, x: Tensor, depth: bool) -> Tensor:
    """The ordering convolution over features or depth alone (their sum is the whole), never in half."""
    channels = x.shape[1]
    conv = cast(nn.Conv2d, module.fuse[0])
    weight = conv.weight[:, channels:] if depth else conv.weight[:, :channels]
    bias = conv.bias if depth else None
    with torch.autocast(x.device.type, enabled=False):
        if x.device.type == "cpu":
            return convolve_to_one(x, weight, bias)
        return F.conv2d(x.to(weight.dtype), weight, bias, padding=1)


def _scanned(module: DSMamba, u: Tensor, terms: DepthTerms, stream: str, order: Tensor) -> Tensor:
    """(B, C, H, W) to the sum of both directions, (B, C, H, W)."""
    if terms.matrices is not None and mixing.usable(u, terms.matrices):
        step, B, C = _mixed_at_once(module, u, terms)
    else:
        step, B, C = _mixed(module, u, terms)
    y = selective_scan(
        u.flatten(2),
        step.flatten(3),
        module.rates(stream),
        B.flatten(3),
        C.flatten(3),
        module.skips(stream),
        module.dt_projs_bias_channel.flatten(),
        True,
        order,
        delta_weight=module.dt_projs_weight_channel.flatten(0, 1),
    )
    return y.unflatten(2, u.shape[2:])


def _mixed(module: DSMamba, u: Tensor, terms: DepthTerms) -> tuple[Tensor, ...]:
    """Factors of the step sizes (B, 2, rank, H, W), and B and C (B, 2, N, H, W)."""
    states, rank = module.config.states, module.rank
    depth = [] if terms.matrices is None or terms.weight is None else [terms.matrices, terms.weight]

    def chain(u: Tensor, *depth: Tensor) -> tuple[Part, ...]:
        step, matrices = _projected(module, u)[1]
        if depth:
            of_depth, share = (part.permute(0, 2, 3, 1) for part in depth)
            of_depth = of_depth.unflatten(-1, (DIRECTIONS, -1)).movedim(-2, 1)
            matrices = torch.lerp(matrices, of_depth, torch.cat([share, share], dim=-1)[:, None])
        B, C = matrices.split(states, dim=-1)
        return step, B.movedim(-1, 2), C.movedim(-1, 2)

    wide = 2 * u.shape[1] + 2 * rank + 12 * states
    return in_bands(chain, (u, *depth), wide, dtype=u.dtype)


def _mixed_at_once(module: DSMamba, u: Tensor, terms: DepthTerms) -> tuple[Tensor, ...]:
    """`_mixed` with B and C written where they belong, in one pass."""
    states, rank = module.config.states, module.rank
    B, C = (u.new_empty(1, DIRECTIONS, *u.shape[2:], states).movedim(-1, 2) for _ in "BC")
    depth = cast(Tensor, terms.matrices), cast(Tensor, terms.weight)

    def chain(u: Tensor, of_depth: Tensor, share: Tensor, B: Tensor, C: Tensor) -> tuple[Part, ...]:
        raw, (step, _) = _projected(module, u)
        mixing.mix_matrices_(B, C, raw, rank, of_depth, share)
        return (step,)

    wide = 2 * u.shape[1] + 2 * rank + 12 * states
    (step,) = in_bands(chain, (u, *depth, B, C), wide, dtype=u.dtype)
    return step, B, C


def _projected(module: DSMamba, u: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Projection of a band (B, C, h, W), and the parts of it for each direction.

    The projection is (B, h, W, 2 * (rank + 2N)); its parts are the factors of the step sizes (B, 2, rank, h,
    W) and the matrices (B, 2, h, W, 2N).
    """
    raw = F.linear(u.permute(0, 2, 3, 1), module.x_proj_weight_channel.flatten(0, 1))
    both = raw.unflatten(-1, (DIRECTIONS, -1)).movedim(-2, 1)  # (B, 2, h, W, rank + 2N)
    return raw, (both[..., : module.rank].movedim(-1, 2), both[..., module.rank :])

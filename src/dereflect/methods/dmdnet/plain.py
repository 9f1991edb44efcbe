"""DMDNet as its paper reads, on the weights of a `DMDNet`: nothing shared, nothing reordered, nothing saved.

Read this first; the tests trust it, and `benchmarks/dmdnet.py` measures what the executed form saves against
it. Shapes: T and R are (B, C, H, W), L = H * W, N states, two directions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from dereflect.methods.dmdnet import memory as memory_of_experts
from dereflect.methods.dmdnet.blocks import EFFN, Bank, BlockSequence
from dereflect.methods.dmdnet.dsmamba import DSMamba, position_code
from dereflect.methods.dmdnet.encoder import EncodingBranch
from dereflect.methods.dmdnet.memory import MECM, MemoryModule
from dereflect.methods.dmdnet.network import DepthFeatures, DMDNet, Separated, Watch, pad_to_multiple
from dereflect.methods.dmdnet.orders import OrderBook, scan_order
from dereflect.nn.mugi import ChannelNorm, MuGIBlock
from dereflect.nn.selective_scan.reference import selective_scan_reference

Pair = tuple[Tensor, Tensor]
Scan = Callable[..., Tensor]


@dataclass(frozen=True)
class ScanInputs:
    """What enters the selective scan of one stream, both directions one after the other in the channels."""

    u: Tensor
    """(B, 2C, L)"""
    delta: Tensor
    """(B, 2C, L)"""
    B: Tensor
    """(B, 2, N, L)"""
    C: Tensor
    """(B, 2, N, L)"""


def separate(
    network: DMDNet,
    image: Tensor,
    depth: DepthFeatures,
    orders: OrderBook | None = None,
    watch: Watch | None = None,
    scan: Scan = selective_scan_reference,
) -> Separated:
    """Separate; arguments and result as of `DMDNet.forward` (without training)."""
    height, width = image.shape[-2:]
    call = 0

    def look(name: str, pair: Pair) -> Pair:
        if watch:
            watch(name, *pair)
        return pair

    def blocks(name: str, pair: Pair, proximity: Tensor, banks: tuple[str, str]) -> Pair:
        nonlocal call
        sequence = network.sequence(name)
        pair = block_sequence(
            sequence, pair, proximity, (network.bank(banks[0]), network.bank(banks[1])), call, orders, scan
        )
        call += len(sequence.blocks)
        return pair

    def semantics(level: int) -> Pair:
        name, s = f"DMBlock_DSBranch_level{level}", network.get_submodule(f"conv_dim{level}")
        semantic, p = s(depth.semantics[level - 3]), proximity[level - 1]
        e_T, e_R = encoded[level - 1]
        t1, t2 = look(f"{name}#0", blocks(name, (semantic, e_T), p, (f"DS{level}_T1", f"DS{level}_T2")))
        r1, r2 = look(f"{name}#1", blocks(name, (semantic, e_R), p, (f"DS{level}_R1", f"DS{level}_R2")))
        return t1 + t2, r1 + r2

    encoded = encode(network.Encoding_Branch, pad_to_multiple(image))
    proximity = network.proximity_pyramid(depth.proximity)
    for level in range(1, 6):
        look(f"encoder{level}", encoded[level - 1])
        look(f"proximity{level}", (proximity[level - 1], proximity[level - 1]))

    T, R = semantics(5)
    Q = proximity[4]
    T, R = look("DMBlock_level5#0", blocks("DMBlock_level5", (T, R), Q, ("level5_T", "level5_R")))
    for level in (4, 3, 2, 1):
        up = network.get_submodule(f"conv_{level}")
        T, R, Q = up(double(T)), up(double(R)), up(double(Q))
        for block in network.get_submodule(f"MuGIBlock_level{level}").children():
            T, R = mugi(cast(MuGIBlock, block), T, R)
        look(f"MuGIBlock_level{level}#0", (T, R))
        more = semantics(level) if level >= 3 else encoded[level - 1]
        T, R, Q = T + more[0], R + more[1], Q + proximity[level - 1]
        name = f"DMBlock_level{level}"
        T, R = look(f"{name}#0", blocks(name, (T, R), Q, (f"level{level}_T", f"level{level}_R")))
    for block in network.MuGIBlock_last:
        T, R = mugi(cast(MuGIBlock, block), T, R)
    T, R = network.out(T, R)
    return Separated(T[..., :height, :width], R[..., :height, :width])


def encode(module: EncodingBranch, image: Tensor) -> list[Pair]:
    """Five levels of feature pairs; each is taken before the MuGI blocks of its level."""
    x = y = module.stem.seq(image)
    levels = [(x, y)]
    for level in range(1, 5):
        first, second, down, widen = module.get_submodule(f"block{level}").children()
        x, y = mugi(cast(MuGIBlock, second), *mugi(cast(MuGIBlock, first), x, y))
        x, y = widen(*down(x, y))
        levels.append((x, y))
    return levels


def norm(module: ChannelNorm, x: Tensor) -> Tensor:
    """Layer norm over the channels of each pixel."""
    mean = x.mean(dim=1, keepdim=True)
    variance = (x - mean).pow(2).mean(dim=1, keepdim=True)
    weight, bias = module.weight[:, None, None], module.bias[:, None, None]
    return weight * (x - mean) / torch.sqrt(variance + module.eps) + bias


def mugi(module: MuGIBlock, x: Tensor, y: Tensor) -> Pair:
    """Mutually gated interaction block."""
    stages: Any = module  # its layers are named by number only, as in the published weights
    (first, widen, depthwise), attention, project = (stages.block1[i].seq for i in (0, 2, 3))
    u, v = gate(depthwise(widen(norm(first, x))), depthwise(widen(norm(first, y))))
    u, v = project(attention(u)), project(attention(v))
    x, y = x + module.a_l * u, y + module.a_r * v

    (first, widen), project = (stages.block2[i].seq for i in (0, 2))
    u, v = gate(widen(norm(first, x)), widen(norm(first, y)))
    b_l, b_r = (module.b, module.b) if module.shared_b else (module.b_l, module.b_r)
    return x + b_l * project(u), y + b_r * project(v)


def gate(u: Tensor, v: Tensor) -> Pair:
    """The first half of each stream times the second half of the other."""
    u1, u2 = u.chunk(2, dim=1)
    v1, v2 = v.chunk(2, dim=1)
    return u1 * v2, v1 * u2


def double(x: Tensor) -> Tensor:
    """Bilinear enlargement by two."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def block_sequence(
    sequence: BlockSequence,
    pair: Pair,
    proximity: Tensor,
    banks: tuple[Bank, Bank],
    call: int = 0,
    orders: OrderBook | None = None,
    scan: Scan = selective_scan_reference,
) -> Pair:
    """Blocks of a level, and the memory at the end."""
    T, R = pair
    for block in sequence:
        a_T, a_R = dsmamba(
            block.DSMamba, norm(block.norm1.body, T), norm(block.norm1.body, R), proximity, call, orders, scan
        )
        T, R = T + a_T, R + a_R
        T, R = (
            T + effn(block.EFFN, norm(block.norm2.body, T)),
            R + effn(block.EFFN, norm(block.norm2.body, R)),
        )
        call += 1
    last = sequence.last
    if last.use_memory:
        T, R = T + mecm(last.MECM, T, banks[0][1]), R + mecm(last.MECM, R, banks[1][1])
    return T, R


def effn(module: EFFN, x: Tensor) -> Tensor:
    """Gated feed-forward network."""
    p, q = module.dwconv(module.project_in(x)).chunk(2, dim=1)
    return module.project_out(F.gelu(p) * q)


def dsmamba(
    module: DSMamba,
    x_T: Tensor,
    x_R: Tensor,
    proximity: Tensor,
    call: int = 0,
    orders: OrderBook | None = None,
    scan: Scan = selective_scan_reference,
) -> Pair:
    """Depth-synergized state space of both streams."""
    results = []
    share = depth_share(module, proximity)
    for stream, x in (("T", x_T), ("R", x_R)):
        features, z = project(module, x)
        order = None if orders is None else orders.lookup(call, stream)
        if order is None:
            kind = module.config.transmission_scan if stream == "T" else module.config.reflection_scan
            order = scan_order(fused_proximity(module, features, proximity), kind)
        if orders is not None:
            orders.used[call, stream] = order
        both = torch.stack([order, order.flip(-1)], dim=1).to(x.device)  # (B, 2, L)
        y = scan_outputs(module, stream, scan_inputs(module, features, share, both), scan)
        inverse = both.argsort(dim=-1)[:, :, None].expand(-1, -1, y.shape[2], -1)
        raster = y.gather(-1, inverse).sum(dim=1).transpose(1, 2)  # (B, L, C)
        out = module.out_proj(module.out_norm(raster).view_as(z) * F.silu(z))
        results.append(out.permute(0, 3, 1, 2))
    return results[0], results[1]


def project(module: DSMamba, x: Tensor) -> Pair:
    """Scanned features (B, C, H, W) and output gate (B, H, W, C)."""
    features, z = module.in_proj(x.permute(0, 2, 3, 1)).chunk(2, dim=-1)
    return F.silu(module.conv2d(features.permute(0, 3, 1, 2))), z


def fused_proximity(module: DSMamba, features: Tensor, proximity: Tensor) -> Tensor:
    """The map that orders the scan, (B, 1, H, W) in (0, 1)."""
    return torch.sigmoid(module.fuse(torch.cat([features, proximity], dim=1)))


def depth_share(module: DSMamba, proximity: Tensor) -> Pair | None:
    """Depth's B and C (B, 2, 2N, L) and its weight in them (B, 1, N, L), in raster order, for both."""
    if module.config.state_space == "original":
        return None
    depth = module.depth_encoder(proximity).flatten(2)[:, None]
    weight = torch.sigmoid(module.conv_depth_sig(proximity)).flatten(2)[:, None]
    return module.depth_proj_weight_channel @ depth, weight


def scan_inputs(module: DSMamba, features: Tensor, share: Pair | None, orders: Tensor) -> ScanInputs:
    """Sequences and matrices of both directions, gathered along `orders` (B, 2, L)."""
    config, states, rank = module.config, module.config.states, module.rank
    _, channels, height, width = features.shape
    if config.position_code:
        code = position_code(height, width, channels, features.dtype, features.device)
        features = features + code.permute(2, 0, 1)
    index = orders[:, :, None]

    def gather(raster: Tensor) -> Tensor:  # (B, 2, X, L)
        return raster.gather(-1, index.expand(-1, -1, raster.shape[2], -1))

    xs = gather(features.flatten(2)[:, None].expand(-1, 2, -1, -1))
    step, B, C = (module.x_proj_weight_channel @ xs).split([rank, states, states], dim=2)
    delta = module.dt_projs_weight_channel @ step
    if share is not None:
        depth_B, depth_C = gather(share[0]).chunk(2, dim=2)
        gamma = gather(share[1].expand(-1, 2, -1, -1))
        B, C = (1 - gamma) * B + gamma * depth_B, (1 - gamma) * C + gamma * depth_C
    return ScanInputs(xs.flatten(1, 2), delta.flatten(1, 2), B, C)


def scan_outputs(module: DSMamba, stream: str, inputs: ScanInputs, scan: Scan) -> Tensor:
    """Results of both directions in scan order, (B, 2, C, L)."""
    A_log, D = getattr(module, f"A_logs_ch_{stream}"), getattr(module, f"Ds_ch_{stream}")
    bias = module.dt_projs_bias_channel.flatten()
    y = scan(inputs.u, inputs.delta, -torch.exp(A_log), inputs.B, inputs.C, D, bias, True)
    return y.unflatten(1, (2, -1))


def mecm(module: MECM, x: Tensor, memory: Tensor) -> Tensor:
    """Memory expert compensation, by every picture's own choice of experts (or the original's, by config)."""
    gate = module.gate(x)
    ran = (gate > 0).all(dim=0, keepdim=True) if module.whole_batch else gate > 0
    coefficients = gate * ran
    return torch.stack(
        [
            coefficients[:, j, None, None, None] * expert(each, x, memory[j])
            for j, each in enumerate(module.experts)
            if ran[:, j].any()
        ]
        or [torch.zeros_like(x)]
    ).sum(0)


def expert(module: MemoryModule, x: Tensor, memory: Tensor) -> Tensor:
    """One expert: both streams, fused, then the dilated depthwise convolution."""
    return module.depth_conv(
        module.fusion(torch.cat([global_stream(x, memory), spatial_stream(x, memory)], 1))
    )


def global_stream(x: Tensor, memory: Tensor) -> Tensor:
    """All channels scaled by the mean feature, completed by the slots it resembles."""
    query = x.mean(dim=(2, 3))
    weights = torch.softmax(query @ memory.t(), dim=1)
    return torch.sigmoid(query + weights @ memory)[:, :, None, None] * x


def spatial_stream(x: Tensor, memory: Tensor) -> Tensor:
    """Each pixel replaced by its two most similar slots, mixed by softmax of their similarities."""
    pixels = x.permute(0, 2, 3, 1)
    similarity, slots = memory_of_experts.two_largest(pixels @ memory.t())
    mixed = (torch.softmax(similarity, dim=-1)[..., None] * memory[slots]).sum(-2)
    return mixed.permute(0, 3, 1, 2)

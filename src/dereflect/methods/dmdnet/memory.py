"""Memory expert compensation module (MECM): experts that complete features from banks of remembered slots.

A gate picks two of four experts for each picture. An expert reads its (slots, C) bank twice: one read by the
picture's mean feature scales all channels (global stream), one read at every pixel mixes the two most similar
slots (spatial stream). Banks are not learned by gradient: in training the slot that fits best is moved
towards the mean feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dereflect.methods.dmdnet.config import DMDNetConfig
from dereflect.nn import fused
from dereflect.nn.bands import Border, depthwise, in_bands

PIXELS_AT_ONCE = 1 << 16  # bounds the (pixels, slots) table of similarities


@dataclass(frozen=True)
class MemoryTrace:
    """What one memory module did in a forward pass of training."""

    bank: str
    gate: Tensor
    """(B, experts) coefficients."""
    ran: Tensor
    """(B, experts) bool: which expert worked on which picture."""
    query: Tensor
    """(B, C) mean feature that the banks move towards (detached)."""
    align: Tensor
    """Scalar: how far the mean feature is from its best slot."""
    triplet: Tensor
    """Scalar: whether the best slot is nearer than the second by a margin."""


class Gate(nn.Module):
    """Choice of experts: softmax over the chosen ones; the choice itself looks at the score plus a second
    score.

    The second score takes the place of noise in noisy top-k gating, but is deterministic, and the same in
    training.
    """

    def __init__(self, channels: int, experts: int, top_k: int, learn_choice: bool = False) -> None:
        super().__init__()
        self.fc0 = nn.Linear(channels, experts)
        self.fc1 = nn.Linear(channels, experts)
        nn.init.zeros_(self.fc1.weight)
        self.top_k = top_k
        self.learn_choice = learn_choice

    def forward(self, x: Tensor, pooled: Tensor | None = None) -> Tensor:
        """(B, C, H, W), or the sum of its mean and maximum over the pixels, to (B, experts) coefficients;
        those of experts not chosen are exactly 0.
        """
        if pooled is None:
            pooled = x.amax(dim=(2, 3)) + x.mean(dim=(2, 3))
        score = F.leaky_relu(self.fc1(pooled), 0.2)
        spread = F.softplus(self.fc0(pooled))
        if not self.learn_choice:
            spread = spread.detach()
        deviation = spread.std(dim=1, keepdim=True)
        noise = (spread - spread.mean(dim=1, keepdim=True)) / torch.where(deviation > 0, deviation, 1.0)
        preference = score + noise
        chosen = torch.zeros_like(score, dtype=torch.bool)
        chosen.scatter_(1, preference.detach().topk(self.top_k, dim=1).indices, True)
        gate = torch.softmax(score.masked_fill(~chosen, -torch.inf), dim=1)
        if self.learn_choice:  # a straight-through one: the value stays, fc0 receives a gradient
            soft = torch.softmax(preference, dim=1)
            gate = gate * (1 + soft - soft.detach())
        return gate


class MemoryModule(nn.Module):
    """One expert: both readings of a bank, their fusion, and a depthwise convolution of growing dilation."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.fusion = nn.Sequential(nn.Conv2d(2 * channels, channels, 1), nn.LeakyReLU(0.2))
        self.depth_conv = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, groups=channels),
            nn.LeakyReLU(0.2),
        )

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """Features (B, C, H, W) and slots (slots, C) to (B, C, H, W).

        The 1x1 fusion of the two streams is linear, so neither stream is formed: the global one scales the
        columns of its half of the weights, and the spatial one mixes slots that have been through the other
        half already.
        """
        channels = x.shape[1]
        conv, mix = cast(nn.Conv2d, self.fusion[0]), cast(nn.Conv2d, self.depth_conv[0])
        weight = conv.weight.flatten(1)
        from_global, from_spatial = weight[:, :channels], weight[:, channels:]
        scale = global_scale(x.mean(dim=(2, 3)), memory)
        scaled = (from_global[None] * scale[:, None]).transpose(1, 2)  # (B, C, C)
        projected_slots = memory @ from_spatial.t().to(memory.dtype)

        def fuse(x: Tensor) -> Tensor:
            tokens = x.permute(0, 2, 3, 1).flatten(1, 2)  # (B, HW, C)
            mixed = spatial_mix(tokens, memory, projected_slots)
            fused = torch.baddbmm(mixed, tokens, scaled.to(tokens.dtype))
            fused = F.leaky_relu(fused + cast(Tensor, conv.bias).to(fused.dtype), 0.2)
            return fused.view(x.shape[0], *x.shape[2:], channels).permute(0, 3, 1, 2)

        def spread(fused: Tensor, border: Border) -> Tensor:
            return F.leaky_relu(depthwise(mix, fused, border), 0.2)

        joined = in_bands(fuse, (x,), 4 * channels + 2 * memory.shape[0])
        return in_bands(spread, joined, 4 * channels, halo=mix.dilation[0])[0]

    def add_to(self, out: Tensor, x: Tensor, query: Tensor, memory: Tensor, coefficient: Tensor) -> Tensor:
        """out += coefficient * self(x), in few passes.

        Args:
            out: (B, C, H, W), changed.
            x: features of the same shape.
            query: (B, C) their mean.
            memory: (slots, C).
            coefficient: (B,).
        """
        batch, channels, _, width = x.shape
        conv, mix = cast(nn.Conv2d, self.fusion[0]), cast(nn.Conv2d, self.depth_conv[0])
        from_global, from_spatial = conv.weight.flatten(1).split(channels, dim=1)
        scale = global_scale(query, memory)
        scaled = (from_global[None] * scale[:, None]).transpose(1, 2).to(x.dtype)  # (B, C, C)
        values = memory.float() @ from_spatial.t().float()
        keys = memory.t().to(x.dtype)

        def fuse(x: Tensor) -> Tensor:
            tokens = x.permute(0, 2, 3, 1).flatten(1, 2)  # (B, hW, C)
            scores, projected = tokens @ keys, tokens @ scaled
            fused.mix_slots_(
                projected.view(-1, channels),
                scores.view(-1, memory.shape[0]),
                values,
                cast(Tensor, conv.bias),
            )
            return projected.view(batch, -1, width, channels).permute(0, 3, 1, 2)

        (mixed,) = in_bands(fuse, (x,), 4 * channels + 2 * memory.shape[0])
        return fused.add_leaky_(out, mixed, fused.taps(mix), mix.dilation[0], coefficient)


def global_scale(query: Tensor, memory: Tensor) -> Tensor:
    """Channel scales of the global stream: sigmoid of the mean feature completed by what the bank remembers.

    Args:
        query: (B, C) mean features.
        memory: (slots, C).

    Returns:
        (B, C) in (0, 1).
    """
    weights = torch.softmax(query @ memory.t(), dim=1).detach()
    return torch.sigmoid(query + weights @ memory)


def spatial_mix(tokens: Tensor, memory: Tensor, values: Tensor) -> Tensor:
    """For each pixel, the values of its two most similar slots, mixed by softmax of the two similarities.

    Args:
        tokens: (B, L, C) features.
        memory: (slots, C) what similarity is measured with.
        values: (slots, V) what is mixed; the memory itself, or a linear map of it.

    Returns:
        (B, L, V).
    """
    pieces = []
    flat = tokens.flatten(0, 1)
    for part in flat.split(PIXELS_AT_ONCE):
        similarity, slots = two_largest(part @ memory.t().to(part.dtype))
        weights = torch.softmax(similarity, dim=1).to(values.dtype)
        pieces.append(
            torch.addcmul(weights[:, :1] * values[slots[:, 0]], weights[:, 1:], values[slots[:, 1]]).to(
                tokens.dtype
            )
        )
    mixed = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
    return mixed.view(*tokens.shape[:2], values.shape[1])


def two_largest(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The two largest of the last axis (..., slots) and where they are: two (..., 2) tensors.

    Scores without a gradient are overwritten.
    """
    first, where_first = scores.max(dim=-1, keepdim=True)  # twice max is many times faster than topk here
    others = scores.scatter if scores.requires_grad else scores.scatter_  # they are not used again
    second, where_second = others(-1, where_first, -torch.inf).max(dim=-1, keepdim=True)
    return torch.cat([first, second], dim=-1), torch.cat([where_first, where_second], dim=-1)


class Expert(nn.Module):
    """Holder that gives an expert its published name."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.memory_module = MemoryModule(channels, dilation)


class MECM(nn.Module):
    """Gated sum of memory experts; what it returns is to be added to its input."""

    def __init__(self, channels: int, config: DMDNetConfig) -> None:
        super().__init__()
        self.gate = Gate(channels, config.experts, config.top_k, config.ordering == "learned")
        self.Memory_Experts = nn.ModuleList([Expert(channels, 2 * j + 1) for j in range(config.experts)])
        self.whole_batch = config.routing == "batch"

    @property
    def experts(self) -> list[MemoryModule]:
        """The experts in the order of their dilation."""
        return [cast(Expert, holder).memory_module for holder in self.Memory_Experts]

    def forward(
        self, x: Tensor, memory: Tensor, bank: str, train: bool = False
    ) -> tuple[Tensor, MemoryTrace | None]:
        """Complete features from a bank.

        Args:
            x: (B, C, H, W).
            memory: (experts, slots, C) of the bank called `bank`; not changed here (see `evolve`).
            train: whether the losses are wanted.

        Returns:
            (compensation (B, C, H, W), trace or None).
        """
        quick = fused.usable(x) and not train
        if quick:
            mean, top = fused.pooled(x)
            gate = self.gate(x, mean + top)
        else:
            gate = self.gate(x)
        ran = gate > 0
        if self.whole_batch:
            ran = ran.all(dim=0, keepdim=True).expand_as(ran)
        out = torch.zeros_like(x)
        query = x.mean(dim=(2, 3)) if train else None
        aligns, triplets = [], []
        for j, expert in enumerate(self.experts):
            rows = ran[:, j].nonzero()[:, 0]
            if not len(rows):
                continue
            everyone = len(rows) == len(x)
            part = x if everyone else x[rows]
            coefficient = (gate[:, j] if everyone else gate[rows, j])[:, None, None, None]
            if quick and everyone:
                out = expert.add_to(out, x, mean, memory[j], gate[:, j])
                continue
            answer = expert(part, memory[j])
            out = (
                torch.addcmul(out, coefficient, answer)
                if everyone
                else out.index_add(0, rows, coefficient * answer)
            )
            if query is not None:
                align, triplet = memory_losses(query[rows], memory[j])
                aligns.append(align)
                triplets.append(triplet)
        if query is None:
            return out, None
        nothing = x.sum() * 0  # no expert ran (whole-batch routing only): keeps the graph, adds nothing
        align = torch.stack(aligns).mean() if aligns else nothing
        triplet = torch.stack(triplets).mean() if triplets else nothing
        return out, MemoryTrace(bank, gate, ran, query.detach(), align, triplet)


def memory_losses(query: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Alignment and triplet loss of mean features (B, C) against slots (slots, C): two scalars."""
    _, slots = two_largest(torch.softmax(query @ memory.t(), dim=1).detach())
    best, second = memory[slots[:, 0]], memory[slots[:, 1]]
    align = F.mse_loss(query, best)
    return align, F.triplet_margin_loss(query, best, second, margin=1.0, p=2.0, eps=1e-6)


@torch.no_grad()
def evolve(memory: Tensor, query: Tensor, ran: Tensor) -> Tensor:
    """Move a bank towards what it was asked for: the next state of the memory.

    For every expert, each mean feature is added to its best slot, weighted by a softmax over the batch of
    that slot's score (1 for a single picture); then all slots are scaled to unit length. Experts that did not
    run stay.

    Args:
        memory: (experts, slots, C).
        query: (B, C) mean features.
        ran: (B, experts) bool.

    Returns:
        (experts, slots, C).
    """
    after = memory.clone()
    for j in range(memory.shape[0]):
        asked = query[ran[:, j]].to(memory.dtype)
        if not len(asked):
            continue
        score = asked @ memory[j].t()  # (b, slots)
        best = score.argmax(dim=1)
        share = torch.softmax(score, dim=0).gather(1, best[:, None])
        after[j] = F.normalize(memory[j].index_add(0, best, asked * share), dim=1, eps=1e-12)
    return after

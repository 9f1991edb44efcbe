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
    """Choice of experts: softmax over the chosen ones.

    The choice itself looks at the score plus a second score.

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

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, experts) coefficients; those of experts not chosen are exactly 0."""
        return self.coefficients(x.amax(dim=(2, 3)) + x.mean(dim=(2, 3)))

    def coefficients(self, pooled: Tensor) -> Tensor:
        """`forward` of the sum (B, C) of the maximum and the mean over the pixels."""
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
        """Features (B, C, H, W) and slots (slots, C) to (B, C, H, W)."""
        streams = torch.cat([global_stream(x, memory), spatial_stream(x, memory)], dim=1)
        return self.depth_conv(self.fusion(streams))


def global_stream(x: Tensor, memory: Tensor) -> Tensor:
    """All channels of (B, C, H, W) scaled by `global_scale` of their mean."""
    return global_scale(x.mean(dim=(2, 3)), memory)[:, :, None, None] * x


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


def spatial_stream(x: Tensor, memory: Tensor) -> Tensor:
    """Each pixel of (B, C, H, W) replaced by its two most similar slots, mixed by softmax of the two."""
    similarity, slots = two_largest(x.permute(0, 2, 3, 1) @ memory.t())  # (B, H, W, 2) each
    mixed = (torch.softmax(similarity, dim=-1)[..., None] * memory[slots]).sum(-2)
    return mixed.permute(0, 3, 1, 2)


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
        gate = self.gate(x)
        ran = self.chosen(gate)
        query = x.mean(dim=(2, 3))
        out = torch.zeros_like(x)
        aligns, triplets = [], []
        for j, expert in enumerate(self.experts):
            rows = ran[:, j].nonzero()[:, 0]  # pictures that this expert works on
            if not len(rows):
                continue
            answer = gate[rows, j][:, None, None, None] * expert(x[rows], memory[j])
            out = out.index_add(0, rows, answer.to(out.dtype))
            if train:
                align, triplet = memory_losses(query[rows], memory[j])
                aligns.append(align)
                triplets.append(triplet)
        if not train:
            return out, None
        nothing = x.sum() * 0  # no expert ran (whole-batch routing only): keeps the graph, adds nothing
        align = torch.stack(aligns).mean() if aligns else nothing
        triplet = torch.stack(triplets).mean() if triplets else nothing
        return out, MemoryTrace(bank, gate, ran, query.detach(), align, triplet)

    def chosen(self, gate: Tensor) -> Tensor:
        """(B, experts) bool: which expert works on which picture."""
        ran = gate > 0
        return ran.all(dim=0, keepdim=True).expand_as(ran) if self.whole_batch else ran


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

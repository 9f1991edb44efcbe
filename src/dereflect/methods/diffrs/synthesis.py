"""The learned latent synthesis network: clean latents of two layers to that of their mixture.

arXiv 2606.04107.

It stands for the physics of glass, learned: optimisation at test time and the map of what was invented ask it
whether two layers explain a picture. Two streams interact through mutually gated blocks, are joined, and end
in one latent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from dereflect.nn.mugi import MuGIBlock
from dereflect.nn.single_stream import SingleStreamBlock


class LatentSynthesis(ModelMixin, ConfigMixin):
    """Predict the scaled latent of a mixture from those of its layers.

    Always float32: optimisation differentiates it, and small differences are what it is asked for. It pools
    over the whole map, so it must see the whole picture at once.

    Args:
        latent_channels: channels of a latent.
        width: channels of each stream.
        interactions: two-stream blocks.
        merges: blocks after the streams are joined.
    """

    # For diffusers' own loading; `_apply` below covers every other conversion.
    _keep_in_fp32_modules = ["intro", "blocks_inter", "blocks_merge", "tail"]  # noqa: RUF012

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self, latent_channels: int = 4, width: int = 48, interactions: int = 2, merges: int = 4
    ) -> None:
        super().__init__()
        self.intro = nn.Conv2d(latent_channels, width, 1)
        self.blocks_inter = nn.ModuleList(MuGIBlock(width, shared_b=False) for _ in range(interactions))
        self.blocks_merge = nn.Sequential(*(SingleStreamBlock(2 * width) for _ in range(merges)))
        self.tail = nn.Conv2d(2 * width, latent_channels, 3, padding=1)

    def forward(self, t: Tensor, r: Tensor) -> Tensor:
        """(B, 4, h, w) latents of transmission and reflection to the mixture's, all scaled."""
        x, y = self.intro(t), self.intro(r)
        for block in self.blocks_inter:
            x, y = block(x, y)
        return self.tail(self.blocks_merge(torch.cat([x, y], dim=1)))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Follow to other devices and layouts, but stay in float32 when a whole pipeline is converted."""

        def keep_float32(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            if tensor.dtype == torch.float32 and moved.dtype in (torch.float16, torch.bfloat16):
                return tensor.to(moved.device)
            return moved

        return super()._apply(keep_float32, recurse)

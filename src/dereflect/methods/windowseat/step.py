"""The one step: photo to latent, latent in the place of the noise, velocity off the latent, back to a photo.

No scheduler, no guidance, no text encoder: the prompt's embedding is a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dereflect.errors import ModelError

TIME = 0.5
"""The original writes 499 / 1000 in bfloat16, where 499 is 500."""
PATCH = 2
REDUCTION = 8
"""A latent's side is the picture's divided by this."""


@dataclass(frozen=True)
class PromptEmbedding:
    """A fixed text's embedding."""

    embeds: Tensor
    """(N, L, D)."""
    mask: Tensor
    """(N, L), bool."""

    @classmethod
    def of(cls, state: Mapping[str, Tensor], source: str) -> PromptEmbedding:
        """From the file's entries.

        Raises:
            ModelError: an entry is missing, or the first text is padded.
        """
        if not {"prompt_embeds", "prompt_mask"} <= state.keys():
            raise ModelError(source, "holds no prompt_embeds and prompt_mask")
        mask = state["prompt_mask"] > 0
        if not mask[0].all():
            raise ModelError(source, "its first text is padded, which the network cannot use")
        return cls(state["prompt_embeds"], mask)

    def for_batch(self, size: int) -> tuple[Tensor, Tensor | None]:
        """Embeddings (B, L, D) and mask (B, L) of a batch, texts in turn; no mask where it hides nothing."""
        rows = torch.arange(size) % len(self.embeds)
        mask = self.mask[rows]
        return self.embeds[rows], None if bool(mask.all()) else mask


class OneStep(nn.Module):
    """Autoencoder and transformer, both of diffusers' classes, and the prompt."""

    def __init__(self, vae: Any, transformer: Any, prompt: PromptEmbedding) -> None:
        super().__init__()
        self.vae, self.transformer, self.prompt = vae, transformer, prompt

    def encode(self, tiles: Tensor, noise: Tensor | None = None) -> Tensor:
        """Tiles (B, 3, P, P) in [-1, 1] to latents (B, 16, 1, P / 8, P / 8).

        Args:
            noise: of the latents' shape, for a sample of the posterior; None takes its mean.
        """
        posterior = self.vae.encode(tiles.to(self.vae.dtype)[:, :, None]).latent_dist
        latent = posterior.mean
        if noise is not None:
            latent = latent + posterior.std * noise.to(latent)
        mean, inverse = self._statistics(latent)
        return (latent - mean) * inverse

    def clean(self, latent: Tensor) -> Tensor:
        """The transmission's latent: what the network predicts is taken off at full weight."""
        return latent - self.velocity(latent)

    def velocity(self, latent: Tensor) -> Tensor:
        """The transformer's prediction, (B, 16, 1, h, w)."""
        batch, _, _, height, width = latent.shape
        dtype, device = self._compute_dtype(), latent.device
        embeds, mask = self.prompt.for_batch(batch)
        (prediction,) = self.transformer(
            hidden_states=pack(latent).to(dtype),
            timestep=torch.full((batch,), TIME, dtype=dtype, device=device),
            encoder_hidden_states=embeds.to(device, dtype),
            encoder_hidden_states_mask=None if mask is None else mask.to(device),
            img_shapes=[[(1, height // PATCH, width // PATCH)]] * batch,
            guidance=None,
            return_dict=False,
        )
        return unpack(prediction, height, width).to(latent.dtype)

    def decode(self, latent: Tensor) -> Tensor:
        """Latents to tiles (B, 3, P, P) in [-1, 1]."""
        mean, inverse = self._statistics(latent)
        (picture,) = self.vae.decode(latent / inverse + mean, return_dict=False)
        return picture[:, :, 0]

    def forward(self, tiles: Tensor, noise: Tensor | None = None) -> Tensor:
        """Tiles of a photo to tiles of its transmission, (B, 3, P, P) in [-1, 1], float32."""
        return self.decode(self.clean(self.encode(tiles, noise))).float()

    def _statistics(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and inverse deviation of latents, in their dtype, as the original computes them."""
        mean, deviation = (
            torch.tensor(numbers, dtype=latent.dtype, device=latent.device).view(1, -1, 1, 1, 1)
            for numbers in (self.vae.config.latents_mean, self.vae.config.latents_std)
        )
        return mean, 1.0 / deviation

    def _compute_dtype(self) -> torch.dtype:
        """The dtype of the transformer's unquantised numbers."""
        found: torch.dtype = self.transformer.transformer_blocks[0].img_mod[1].weight.dtype
        return found


def pack(latent: Tensor) -> Tensor:
    """(B, C, 1, H, W) to tokens (B, H/2 * W/2, 4C): patches row by row, channel by channel within one."""
    batch, channels, _, height, width = latent.shape
    patches = latent.view(batch, channels, height // PATCH, PATCH, width // PATCH, PATCH)
    return patches.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * PATCH * PATCH)


def unpack(tokens: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `pack` for latents of `height` by `width`."""
    batch, _, channels = tokens.shape
    patches = tokens.view(batch, height // PATCH, width // PATCH, channels // PATCH**2, PATCH, PATCH)
    return patches.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels // PATCH**2, 1, height, width)

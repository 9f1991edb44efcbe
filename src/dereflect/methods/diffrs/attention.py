"""Cross-layer attention: the self-attention of the two layers sees both (arXiv 2606.04107, section 3).

The published form gives each layer keys and values ``[own ; other]``, concatenated along the tokens. Softmax
does not care about the order of keys and both layers then see the same set, so this *equals* plain
self-attention over one sequence of twice the length: no copies of keys and values, and one call instead of
two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from dereflect.errors import ModelError

Processor = Callable[..., Tensor]
"""What diffusers calls an attention processor."""


def join_layers(tokens: Tensor) -> Tensor:
    """(2B, S, C), transmissions first, to (B, 2S, C): of a picture its transmission, then its reflection."""
    both, length, width = tokens.shape
    return tokens.view(2, both // 2, length, width).transpose(0, 1).reshape(both // 2, 2 * length, width)


def split_layers(tokens: Tensor) -> Tensor:
    """The inverse of `join_layers`: (B, 2S, C) to (2B, S, C)."""
    batch, length, width = tokens.shape
    return tokens.view(batch, 2, length // 2, width).transpose(0, 1).reshape(2 * batch, length // 2, width)


class JointAttention:
    """Attention processor that joins the halves of the batch into one sequence for the one it wraps.

    Because it wraps whatever was installed (stock, sliced, ...), those keep working. Attention to a text is
    left alone: each layer has its own prompt.

    Args:
        inner: the processor that computes the attention.
    """

    def __init__(self, inner: Processor) -> None:
        self.inner = inner

    def __call__(
        self,
        attn: torch.nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **others: Any,
    ) -> Tensor:
        """(2B, S, C) to the same shape; element j of the first half is paired with element j of the second.

        Raises:
            ModelError: a batch of odd length, which cannot hold pairs of layers.
        """
        if encoder_hidden_states is not None:
            return self.inner(attn, hidden_states, encoder_hidden_states, attention_mask, **others)
        if hidden_states.shape[0] % 2:
            raise ModelError(
                "cross-layer attention",
                f"needs both layers in the batch, got {hidden_states.shape[0]} elements",
            )
        return split_layers(self.inner(attn, join_layers(hidden_states), None, None, **others))


def install_joint_attention(unet: Any) -> dict[str, Processor]:
    """Put `JointAttention` around every self-attention (``attn1``) of a diffusers UNet.

    Returns:
        The processors as they were before; hand them to ``unet.set_attn_processor`` to undo.
    """
    before = dict(unet.attn_processors)
    unet.set_attn_processor(
        {
            name: JointAttention(processor)
            if name.endswith("attn1.processor") and not isinstance(processor, JointAttention)
            else processor
            for name, processor in before.items()
        }
    )
    return before


@contextmanager
def joint_attention(unet: Any, active: bool = True) -> Iterator[None]:
    """Run a block with cross-layer attention; the former processors are back afterwards, whatever happens."""
    if not active:
        yield
        return
    before = install_joint_attention(unet)
    try:
        yield
    finally:
        unet.set_attn_processor(before)

"""The two prompts as tensors, stored with the weights: no text encoder is needed to run."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from dereflect.errors import ModelError

WORDS = ("transmission", "reflection")


class PromptEmbeddings(ModelMixin, ConfigMixin):
    """Embeddings of "transmission" and "reflection", (1, tokens, width) each.

    Args:
        tokens: length of the text encoder's context.
        width: of the text encoder's last hidden state.
    """

    transmission: Tensor
    reflection: Tensor

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, tokens: int = 77, width: int = 1024) -> None:
        super().__init__()
        # Parameters, not buffers: diffusers asks a model's first parameter for its device and dtype.
        self.transmission = torch.nn.Parameter(torch.zeros(1, tokens, width), requires_grad=False)
        self.reflection = torch.nn.Parameter(torch.zeros(1, tokens, width), requires_grad=False)

    @classmethod
    def of(cls, transmission: Tensor, reflection: Tensor) -> PromptEmbeddings:
        """From two ready embeddings, (1, tokens, width) each."""
        prompts = cls(tokens=transmission.shape[1], width=transmission.shape[2])
        prompts.load_state_dict({"transmission": transmission.float(), "reflection": reflection.float()})
        return prompts

    def forward(self, pictures: int) -> Tensor:
        """(2 * pictures, tokens, width): those of the transmissions first."""
        return torch.cat(
            [self.transmission.expand(pictures, -1, -1), self.reflection.expand(pictures, -1, -1)]
        )


@torch.no_grad()
def embed_prompts(tokenizer: Any, text_encoder: Any) -> PromptEmbeddings:
    """Embed the two words with Stable Diffusion's tokenizer and text encoder, once and for all.

    The full context length is kept, padded as the tokenizer says (SD 2 pads with id 0), without a mask: the
    last hidden state after the final norm.

    Raises:
        ModelError: a word is not a single token, so this is another tokenizer than Stable Diffusion's.
    """
    embedded = []
    for word in WORDS:
        tokens = tokenizer(
            word,
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        alone = tokenizer(word, add_special_tokens=False).input_ids
        if len(alone) != 1:
            raise ModelError(
                "the tokenizer", f"cuts '{word}' into {len(alone)} tokens; give the tokenizer of SD 2.1"
            )
        embedded.append(text_encoder(tokens.input_ids.to(text_encoder.device))[0].float())
    return PromptEmbeddings.of(*embedded)

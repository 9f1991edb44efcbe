"""A network in its plain form, for exporters: no fast path, no bands, one number format within."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Separate = Callable[[nn.ModuleDict, Tensor], Sequence[Tensor]]
"""Called with parts by name and (1, 3, H, W) in the form's dtype; the first two results are the layers."""


class PlainForm(nn.Module):
    """(1, 3, H, W) float32 in [0, 1] to (transmission, reflection), float32.

    Args:
        separate: what it does, with the parts.
        dtype: what the parts compute in.
        parts: networks by name; they are copied.
    """

    def __init__(self, separate: Separate, dtype: torch.dtype, **parts: nn.Module) -> None:
        super().__init__()
        self.separate, self.dtype = separate, dtype
        self.parts = nn.ModuleDict({name: copy.deepcopy(part).to(dtype) for name, part in parts.items()})
        self.eval()

    def forward(self, blended: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        transmission, reflection = self.separate(self.parts, blended.to(self.dtype))[:2]
        return transmission.float(), reflection.float()

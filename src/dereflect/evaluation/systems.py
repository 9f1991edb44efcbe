"""Models as the evaluation sees them: through the Separator, like every photo of a user."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from dereflect.catalog import check_source
from dereflect.images.picture import Array
from dereflect.separator import Separator, load


class Model:
    """A Separator as a system to be measured."""

    def __init__(self, separator: Separator, name: str, settings: Mapping[str, Any]) -> None:
        self.separator = separator
        self.name = name
        self.device = f"{separator.running}, threads: {torch.get_num_threads()}"
        parts = [
            name,
            separator.running,
            digest_of(separator.method),
            {k: str(v) for k, v in settings.items()},
        ]
        self.identity = json.dumps(parts, sort_keys=True)

    def separate(self, picture: Array) -> tuple[Array, Array]:
        """Take (H, W, 3) uint8 or float32 in [0, 1]; give both layers as float32 in [0, 1]."""
        result = self.separator.tensors(picture)
        transmission, reflection = (layer.permute(1, 2, 0).numpy() for layer in result)
        return transmission, reflection


def load_models(
    sources: Sequence[str], options: Mapping[str, str], settings: Mapping[str, Any]
) -> Iterator[Model]:
    """Load models one after the other; each is let go before the next is loaded.

    What names no model is refused before the first is loaded.

    Args:
        sources: names, folders or files as `dereflect.load` takes them.
        options: settings of the methods.
        settings: of the Separator.

    Raises:
        ModelError, InputError: a model that cannot be loaded.
    """
    used: set[str] = set()
    for source in sources:
        check_source(source)

    def loaded(source: str) -> Model:
        separator = load(source, options=options, **settings)
        name = separator.name if separator.name not in used else source
        used.add(name)
        return Model(separator, name, {**settings, **options})

    return map(loaded, sources)


def digest_of(module: nn.Module) -> str:
    """SHA-256 over all parameters and buffers with their names: tells two trainings of a model apart."""
    digest = hashlib.sha256()
    for key, tensor in sorted(module.state_dict().items()):
        if isinstance(tensor, torch.Tensor):
            content = tensor.detach().cpu().contiguous().flatten()
            digest.update(f"{key}{tuple(tensor.shape)}{tensor.dtype}".encode())
            digest.update(np.ascontiguousarray(content.view(torch.uint8).numpy()).tobytes())
    return digest.hexdigest()

"""The embedded default model, as the catalog builds it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dereflect.errors import ModelError
from dereflect.methods.contract import Method, Progress, Traits
from dereflect.methods.default.network import DefaultConfig, DefaultNetwork
from dereflect.methods.options import MethodOptions
from dereflect.weights import check_keys, read_checkpoint, read_config

EMBEDDED = Path(__file__).parent / "weights"
"""Folder inside the package: config.json, model.safetensors (float16), README.md, the encoder's licence."""
FAINT = (1 / 255, 3 / 255)
"""Mean change of a picture below which a correction is dropped, and from which it counts in full."""


class DefaultMethod(Method):
    """Our own two-stream network; see `DefaultNetwork`."""

    family = "default"
    traits = Traits(
        size_multiple=32,
        min_size=64,
        working_size=512,  # measured best on held-out real pairs: what the training crops' scale amounts to
        tileable=True,  # nearly: gates and trust see the tile alone
        tile_overlap=96,
        fades=True,
        any_threads=True,
        bytes_per_pixel=720,
    )

    def __init__(self, config: DefaultConfig) -> None:
        super().__init__()
        self.config = config
        self.network = DefaultNetwork(config)

    def forward(
        self, blended: Tensor, *, generator: torch.Generator | None = None, progress: Progress | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `Method.forward`."""
        low = blended.to(self.dtype).contiguous(memory_format=torch.channels_last)
        transmission, reflection = self.network(low)[:2]
        # The correction is computed in low precision, but added to the photo in float32: no 8-bit banding.
        correction = transmission - low.float()
        trust = _trust(correction)
        return blended + trust * correction, trust * reflection

    def saved_state(self) -> dict[str, Tensor]:
        """The network in float16: half the size, and in effect below 8-bit rounding."""
        return {key: value.half() for key, value in self.network.state_dict().items()}

    @classmethod
    def wrap(cls, network: DefaultNetwork) -> DefaultMethod:
        """A method around an existing network, sharing its weights."""
        method = cls.__new__(cls)
        Method.__init__(method)
        method.config, method.network = network.config, network
        return method

    @staticmethod
    def load_weights(network: DefaultNetwork, folder: Path) -> None:
        """Load model.safetensors of `folder`, strictly."""
        state = read_checkpoint(folder / "model.safetensors")
        check_keys(network.state_dict(), state, f"{folder}")
        network.load_state_dict({key: value.float() for key, value in state.items()})

    @staticmethod
    def load_encoders(network: DefaultNetwork, paths: Sequence[str] = ()) -> None:
        """Load the trained encoders' weights: from files of their own, or out of the embedded model.

        Raises:
            ModelError: an encoder that the embedded model has not, and for which no file is given.
        """
        embedded = {} if paths else read_checkpoint(EMBEDDED / "model.safetensors")
        for index, encoder in enumerate(network.encoders()):
            prefix = f"encoder{index + 1 if index else ''}."
            state = {key.removeprefix(prefix): v for key, v in embedded.items() if key.startswith(prefix)}
            source = str(EMBEDDED)
            if paths:
                source = (
                    paths[index] if index < len(paths) else f"settings.encoder_weights, number {index + 1}"
                )
                state = read_checkpoint(source) if index < len(paths) else {}
            check_keys(encoder.state_dict(), state, source)
            encoder.load_state_dict({key: value.float() for key, value in state.items()})


def _trust(correction: Tensor) -> Tensor:
    """How far to believe a correction (B, 3, H, W), by its mean size in its picture: (B, 1, 1, 1) in [0, 1].

    A correction that hardly changes the picture is more often a mistake on a photo without glass than a
    reflection; it is faded out, so that such photos keep their colours.
    """
    none, full = FAINT
    # Channel by channel: a mean to one number would depend on how many threads there are.
    size = correction.abs().mean((2, 3), keepdim=True).mean(1, keepdim=True)
    x = ((size - none) / (full - none)).clamp(0, 1)
    return x * x * (3 - 2 * x)


def traced(method: DefaultMethod, dtype: torch.dtype) -> Method:
    """What is exported: a copy of the whole method, which ONNX can hold as it is."""
    return copy.deepcopy(method).prepare(torch.device("cpu"), dtype)


def recognises(checkpoint: Mapping[str, Any]) -> bool:
    """Whether these are weights of a default network (they need their config.json: load the folder)."""
    return "stem.weight" in checkpoint and "down1.blocks.0.spatial_t.weight" in checkpoint


def from_checkpoint(path: Path, checkpoint: Mapping[str, Any], options: MethodOptions) -> Method:
    """Weights alone do not tell the network's shape."""
    raise ModelError(path, "needs its config.json beside it; load the folder instead")


def from_folder(folder: Path, config: Mapping[str, Any], options: MethodOptions) -> Method:
    """Load from config.json and model.safetensors."""
    config = dict(config)
    if "features" in config:  # as it was called when there was one encoder, and no tone
        config |= {"encoder": "open_nsfw" if config.pop("features") else "", "tone": False}
    known = {field.name for field in fields(DefaultConfig)}
    if unknown := sorted(set(config) - known):
        raise ModelError(folder / "config.json", f"unknown key '{unknown[0]}'")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
    method = DefaultMethod(DefaultConfig(**values))
    DefaultMethod.load_weights(method.network, folder)
    return method.eval()


def from_name(name: str, options: MethodOptions) -> Method:
    """The embedded model."""
    return from_folder(EMBEDDED, read_config(EMBEDDED)[1], options)

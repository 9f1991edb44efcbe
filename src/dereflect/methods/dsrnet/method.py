"""DSRNet as the catalog builds it: from an official checkpoint, or from a folder of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from dereflect.downloads import ReportBytes
from dereflect.errors import ModelError
from dereflect.methods.checkpoints import StateDict, network_state
from dereflect.methods.contract import Method, Progress, Traits
from dereflect.methods.downloads import Say
from dereflect.methods.dsrnet.config import DSRNetConfig, config_from
from dereflect.methods.dsrnet.family import FAMILY
from dereflect.methods.dsrnet.fast import separate
from dereflect.methods.dsrnet.network import DSRNet
from dereflect.methods.dsrnet.official import MARKS, SECOND, config_of, features_of, load_into
from dereflect.methods.model_files import ModelFiles
from dereflect.methods.options import MethodOptions
from dereflect.methods.plain_form import PlainForm
from dereflect.nn.vgg import Vgg19, load_vgg19
from dereflect.weights import check_keys, read_checkpoint


class DSRNetOptions(MethodOptions):
    """The ``--set`` settings of DSRNet."""

    vgg: str | None = Field(
        None,
        description="VGG-19 weights: a file, a folder, 'download', or 'none' to only convert a checkpoint; "
        "by default those in the model's own file, else where they are looked for",
    )
    weights: str | None = Field(
        None, description="a checkpoint or model folder to load instead of the downloaded one"
    )


class DSRNetMethod(Method):
    """Any DSRNet. Separates by the fast form; in train mode by the plain one, through which gradients flow.

    Whole photos only: channel attention averages over all of it.

    Args:
        config: the network's sizes.
        vgg: features that the network sees; None leaves a method that can be saved but not run.
    """

    family = "dsrnet"

    def __init__(self, config: DSRNetConfig, vgg: Vgg19 | None) -> None:
        super().__init__()
        self.config = config
        self.network = DSRNet(config)
        self.vgg = vgg
        multiple = max(32, config.size_multiple)
        self.traits = Traits(
            size_multiple=multiple,
            min_size=multiple,
            working_size=768,
            tileable=False,
            bytes_per_pixel=3000,
        )

    def train(self, mode: bool = True) -> DSRNetMethod:
        """Switch between the plain form (training) and the fast one; the features stay as they are."""
        super().train(mode)
        if self.vgg is not None:
            self.vgg.eval()
        return self

    def forward(
        self, blended: Tensor, *, generator: torch.Generator | None = None, progress: Progress | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `Method.forward`."""
        vgg = _features(self)
        if self.training:
            transmission, reflection, _ = self.network(blended, vgg(blended))
            return transmission, reflection
        transmission, reflection, _ = separate(self.network, vgg, blended.to(self.dtype))
        return transmission.float(), reflection.float()

    def saved_state(self) -> dict[str, Tensor]:
        """Every tensor once: of the residual module's double names the first."""
        return {key: value for key, value in self.state_dict().items() if SECOND not in key}


def traced(method: DSRNetMethod, dtype: torch.dtype) -> PlainForm:
    """What is exported: the plain form, without the residual."""
    return PlainForm(
        lambda parts, photo: parts["network"](photo, parts["vgg"](photo)),
        dtype,
        network=method.network,
        vgg=_features(method),
    )


def recognises(checkpoint: Mapping[str, Any]) -> bool:
    """Whether this is a DSRNet in any of its files."""
    return bool(network_state(checkpoint, MARKS))


def from_checkpoint(path: Path, checkpoint: Mapping[str, Any], options: DSRNetOptions) -> DSRNetMethod:
    """Read an official checkpoint; which variant it is, is told by keys and shapes.

    Raises:
        ModelError: keys that do not fit (names the first five of each kind), or no VGG-19 at hand.
    """
    state = network_state(checkpoint, MARKS)
    config = config_of(state, str(path))
    return _built(config, state, f"{path}: DSRNet", _vgg(features_of(checkpoint), options, str(path)))


def from_folder(folder: Path, config: Mapping[str, Any], options: DSRNetOptions) -> DSRNetMethod:
    """Load what `save_pretrained` or the trainer wrote; its own VGG-19 is used unless another is given."""
    settings = config_from(config, str(folder / "config.json"))
    path = folder / "model.safetensors"
    content = read_checkpoint(path)
    features = {key.removeprefix("vgg."): value for key, value in content.items() if key.startswith("vgg.")}
    state = {
        key.removeprefix("network."): value for key, value in content.items() if not key.startswith("vgg.")
    }
    return _built(settings, state, str(path), _vgg(features, options, str(path)))


def from_name(name: str, options: DSRNetOptions) -> DSRNetMethod:
    """The published model, from the setting ``weights`` or from what ``dereflect models download`` kept.

    Raises:
        ModelError: it is not there (says what to fetch, from where, how large and under which licence).
    """
    return MODELS.read_published(FAMILY.card(name), options.weights, options)


def from_path(path: Path, options: DSRNetOptions) -> DSRNetMethod:
    """Load a model folder or an official checkpoint, which must be of this family.

    Raises:
        ModelError: of another method.
    """
    return MODELS.read(path, options)


def download(
    name: str, yes: bool, sources: Mapping[str, str], say: Say, report: ReportBytes | None = None
) -> Path:
    """Fetch the toolbox's checkpoint and convert it once; see `dereflect.methods.family.Download`.

    The checkpoint may hold the optimizer's state: the network and the VGG-19 that it sees are kept for use.
    """
    return MODELS.download(FAMILY.card(name), DSRNetOptions(), yes, sources, say, report)


def _features(method: DSRNetMethod) -> Vgg19:
    if method.vgg is None:
        raise ModelError(
            "none",
            "this DSRNet was loaded for conversion only; load it with vgg=PATH to run it",
            setting="vgg",
        )
    return method.vgg


def _vgg(features: StateDict, options: DSRNetOptions, source: str) -> Vgg19 | None:
    """The VGG-19 that is asked for, else the one that the weights bring, else the one on this machine."""
    if options.vgg == "none":
        return None
    if options.vgg is not None or not features:
        return load_vgg19(options.vgg)
    with torch.device("meta"):
        network = Vgg19()
    check_keys(network.state_dict(), features, f"{source}: VGG-19")
    network.load_state_dict({key: value.float() for key, value in features.items()}, assign=True)
    return network.requires_grad_(False)


def _built(config: DSRNetConfig, state: StateDict, source: str, vgg: Vgg19 | None) -> DSRNetMethod:
    with torch.device("meta"):
        method = DSRNetMethod(config, None)
    load_into(method.network, state, source)
    method.vgg = vgg
    return method.eval()


MODELS = ModelFiles("DSRNet", DSRNetMethod.family, recognises, from_checkpoint, from_folder)

"""RDNet as the catalog builds it: from an official checkpoint of either layout, or from a folder of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from dereflect.downloads import ReportBytes
from dereflect.errors import InputError, ModelError
from dereflect.methods.checkpoints import StateDict
from dereflect.methods.contract import Method, Progress, Traits
from dereflect.methods.downloads import Say
from dereflect.methods.model_files import ModelFiles
from dereflect.methods.options import MethodOptions
from dereflect.methods.plain_form import PlainForm
from dereflect.methods.rdnet.config import Order, RDNetConfig, config_from
from dereflect.methods.rdnet.family import FAMILY
from dereflect.methods.rdnet.fast.network import separate
from dereflect.methods.rdnet.network import SIZE_MULTIPLE, RDNet
from dereflect.methods.rdnet.official import (
    classifier_state,
    config_of,
    is_classifier,
    is_old,
    modern_state,
    network_state,
)
from dereflect.weights import check_keys, read_checkpoint


class RDNetOptions(MethodOptions):
    """The ``--set`` settings of RDNet."""

    classifier: str | None = Field(
        None, description="cls_model.pth, for checkpoints of the older layout, which hold no classifier"
    )
    order: Literal["transmission_first", "reflection_first"] | None = Field(
        None,
        description="which layer the weights were trained to give first, for a checkpoint of the older code "
        "that was renamed to the toolbox's keys (reflection_first); told by the keys otherwise",
    )
    weights: str | None = Field(
        None, description="a checkpoint or model folder to load instead of the downloaded one"
    )


class RDNetMethod(Method):
    """Any RDNet. Whole photos only: channel attention averages over all of it."""

    family = "rdnet"
    traits = Traits(
        size_multiple=SIZE_MULTIPLE,
        min_size=32,
        working_size=1024,
        tileable=False,
        bytes_per_pixel=2900,  # float32 at 384x384, where it is most: benchmarks/published.py
    )

    def __init__(self, config: RDNetConfig) -> None:
        super().__init__()
        self.config = config
        self.network = RDNet(config)

    def prepare(self, device: torch.device, dtype: torch.dtype) -> Method:
        """Compute the backbone's branches in `dtype`, and all else in float32.

        Four fifths of the work is in those branches; in half precision throughout, the gated products of
        columns and decoder multiply the error (by six, with random weights).
        """
        super().prepare(device, torch.float32)
        for stage in self.network.baseball.layers:
            for block in stage.get_submodule("blocks").children():
                block.get_submodule("modulation").to(dtype)
                block.get_submodule("mlp").to(dtype)
        self.dtype = dtype
        return self

    def forward(
        self, blended: Tensor, *, generator: torch.Generator | None = None, progress: Progress | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `Method.forward`; the last column's layers, by the fast path unless in training."""
        if self.training:
            return self.network(blended)[-1]
        with torch.no_grad():
            return separate(self.network, blended)


def traced(method: RDNetMethod, dtype: torch.dtype) -> PlainForm:
    """What is exported: the last column's layers, by the plain form, with alphas that need no clamping."""
    form = PlainForm(_last_layers, dtype, network=method.network)
    for column in cast(RDNet, form.parts["network"]).columns():
        column.clamp_alphas()
    return form


def _last_layers(parts: nn.ModuleDict, photo: Tensor) -> tuple[Tensor, Tensor]:
    network = cast(RDNet, parts["network"])
    stem, states = network.start(photo)
    x = network.prompted(photo, stem)
    for column in network.columns():
        states = column.renew(x, states)
    return network.decode(photo, states)


def recognises(checkpoint: Mapping[str, Any]) -> bool:
    """Whether this is an RDNet of either layout, or the older layout's classifier."""
    return bool(network_state(checkpoint)) or is_classifier(checkpoint)


def from_checkpoint(path: Path, checkpoint: Mapping[str, Any], options: RDNetOptions) -> RDNetMethod:
    """Read an official checkpoint; layout, variant and sizes are told by its keys and shapes.

    Raises:
        ModelError: keys that do not fit, mixed layouts, or a classifier that is missing or one too many.
    """
    state = network_state(checkpoint)
    if not state:
        raise ModelError(
            path,
            "is RDNet's classifier alone; give the network's checkpoint as the model, and this file"
            " as its setting 'classifier'",
        )
    old = is_old(state, str(path))
    state = _with_classifier(state, old, path, options)
    order: Order = "reflection_first" if old else "transmission_first"
    if old and options.order == "transmission_first":
        raise InputError(
            options.order, f"{path} has the older layout, which gives the reflection first", setting="order"
        )
    config = config_of(state, options.order or order, str(path))
    return _built(config, {f"network.{key}": value for key, value in state.items()}, f"{path}: RDNet")


def from_folder(folder: Path, config: Mapping[str, Any], options: RDNetOptions) -> RDNetMethod:
    """Load what `save_pretrained` or the trainer wrote."""
    settings = config_from(config, str(folder / "config.json"))
    path = folder / "model.safetensors"
    return _built(settings, read_checkpoint(path), str(path))


def from_name(name: str, options: RDNetOptions) -> RDNetMethod:
    """The published model, from the setting ``weights`` or from what ``dereflect models download`` kept.

    Raises:
        ModelError: it is not there (says what to fetch, from where, how large and under which licence).
    """
    return MODELS.read_published(FAMILY.card(name), options.weights, options)


def from_path(path: Path, options: RDNetOptions) -> RDNetMethod:
    """Load a model folder or an official checkpoint, which must be of this family.

    Raises:
        ModelError: of another method.
    """
    return MODELS.read(path, options)


def download(
    name: str, yes: bool, sources: Mapping[str, str], say: Say, report: ReportBytes | None = None
) -> Path:
    """Fetch the toolbox's checkpoint and convert it once; see `dereflect.methods.family.Download`.

    The checkpoint may hold the optimizer's state, three times the size of the network: what is kept for use
    is the network alone.
    """
    return MODELS.download(FAMILY.card(name), RDNetOptions(), yes, sources, say, report)


def _with_classifier(state: StateDict, old: bool, path: Path, options: RDNetOptions) -> StateDict:
    """The state under the toolbox's names, with the classifier from the file that it is in."""
    held = any(key.startswith("classifier.") for key in state)
    if options.classifier is None:
        if old:
            raise ModelError(
                path,
                "has the older layout, whose classifier is a file of its own: give cls_model.pth as the "
                "setting 'classifier'",
            )
        return state
    if held:
        raise InputError(
            options.classifier, f"{path} holds its classifier already; leave this out", setting="classifier"
        )
    place = Path(options.classifier).expanduser()
    return modern_state(state, classifier_state(read_checkpoint(place), str(place)))


def _built(config: RDNetConfig, state: StateDict, source: str) -> RDNetMethod:
    with torch.device("meta"):
        method = RDNetMethod(config)
    check_keys(method.state_dict(), state, source)
    method.load_state_dict({key: value.float() for key, value in state.items()}, assign=True)
    return method.eval()


MODELS = ModelFiles("RDNet", RDNetMethod.family, recognises, from_checkpoint, from_folder)

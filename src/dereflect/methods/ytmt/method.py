"""YTMT as the catalog builds it: from an official checkpoint, from a folder of ours, or in training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from dereflect.downloads import ReportBytes
from dereflect.errors import InputError, ModelError
from dereflect.methods.card import ModelCard
from dereflect.methods.contract import Method, Progress, Traits
from dereflect.methods.downloads import Say, download_files, local_files
from dereflect.methods.model_files import ModelFiles, converted_folder
from dereflect.methods.options import MethodOptions
from dereflect.methods.plain_form import PlainForm
from dereflect.methods.ytmt.config import YtmtConfig, config_from
from dereflect.methods.ytmt.family import FAMILY
from dereflect.methods.ytmt.fast.system import FastSystem
from dereflect.methods.ytmt.official import config_of, network_states, system_state
from dereflect.methods.ytmt.two_stage import YtmtSystem
from dereflect.nn.vgg import Vgg19, find_vgg19, load_vgg19
from dereflect.weights import check_keys, read_checkpoint


class YtmtOptions(MethodOptions):
    """The ``--set`` settings of YTMT."""

    vgg: str | None = Field(
        None,
        description="VGG-19 weights: a file, a folder, 'download', or 'none' to only convert a checkpoint",
    )
    exchange: Literal["C", "P", "A", "N"] | None = Field(
        None, description="letter of the head where a checkpoint's keys leave it open: P for C, N for A"
    )
    weights: str | None = Field(None, description="the checkpoint to load, for models named without a file")


class YtmtMethod(Method):
    """Any YTMT system.

    Inference takes the fast path; in train mode the plain path, through which gradients flow.

    Args:
        config: which networks.
        vgg: features for hypercolumns; None leaves a system that can be saved but not run.
    """

    family = "ytmt"

    def __init__(self, config: YtmtConfig, vgg: Vgg19 | None) -> None:
        super().__init__()
        self.config = config
        self.system = YtmtSystem(config, vgg)
        # Channel attention averages over the picture: a tile alone gives another result than the whole.
        self.traits = Traits(min_size=config.min_size, tileable=False, bytes_per_pixel=5600)
        self._fast: FastSystem | None = None
        self._place = torch.device("cpu")

    def prepare(self, device: torch.device, dtype: torch.dtype) -> Method:
        """Build the fast path there. The float32 weights stay where they are, to be saved unharmed."""
        self.dtype, self._place = dtype, device
        self._fast = None
        return self.eval()

    def train(self, mode: bool = True) -> YtmtMethod:
        """Switch between the plain path (training) and the fast one.

        The fast one is built anew from the present weights.
        """
        self._fast = None
        super().train(mode)
        if self.system.vgg is not None:
            self.system.vgg.eval()
        return self

    def forward(
        self, blended: Tensor, *, generator: torch.Generator | None = None, progress: Progress | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `Method.forward`. Any height and width of at least `traits.min_size`."""
        _runnable(self)
        if self.training:
            return self.system(blended)
        if self._fast is None:
            self._fast = FastSystem(self.system, self._place, self.dtype)
        transmission, reflection = self._fast.stages(blended)[-1]
        return transmission.to(blended.device), reflection.to(blended.device)


def traced(method: YtmtMethod, dtype: torch.dtype) -> PlainForm:
    """What is exported: the plain path, with every hypercolumn."""
    return PlainForm(lambda parts, photo: parts["system"](photo), dtype, system=_runnable(method).system)


def recognises(checkpoint: Mapping[str, Any]) -> bool:
    """Whether this is a checkpoint of the authors' trainer, or the state dict of one of their networks."""
    return bool(network_states(checkpoint))


def from_checkpoint(path: Path, checkpoint: Mapping[str, Any], options: YtmtOptions) -> YtmtMethod:
    """Read an official checkpoint: stage one or both, refactored or old network, told by its keys."""
    states = network_states(checkpoint)
    config = config_of(states, path, options.exchange)
    state = system_state(states, config, path)
    method = YtmtMethod(config, _vgg(config, options))
    method.system.load_state_dict(state | _vgg_entries(method.system))
    return method.eval()


def from_folder(folder: Path, config: Mapping[str, Any], options: YtmtOptions) -> YtmtMethod:
    """Load what `save_pretrained` or the trainer wrote.

    A VGG-19 saved with it is used unless another is given.
    """
    settings = config_from(config, str(folder / "config.json"))
    state = read_checkpoint(folder / "model.safetensors")
    has_vgg = any(key.startswith("system.vgg.") for key in state)
    if has_vgg and options.vgg is None:
        method = YtmtMethod(settings, Vgg19())
    else:
        state = {key: value for key, value in state.items() if not key.startswith("system.vgg.")}
        method = YtmtMethod(settings, _vgg(settings, options))
        state |= {f"system.{key}": value for key, value in _vgg_entries(method.system).items()}
    check_keys(method.state_dict(), state, str(folder / "model.safetensors"))
    method.load_state_dict(state)
    return method.eval()


def from_name(name: str, options: YtmtOptions) -> YtmtMethod:
    """The published model, from the setting ``weights`` or from what ``dereflect models download`` kept.

    Raises:
        ModelError: it is not there (says what to fetch, from where, how large and under which licence).
    """
    if options.weights is not None:
        return from_path(Path(options.weights).expanduser(), options)
    converted = converted_folder(FAMILY.card(name))
    if (converted / "config.json").is_file():
        return from_path(converted, options)
    vgg = options.vgg or _found_vgg()
    files = local_files(_card(name, vgg))
    return from_path(files["weights"], options.model_copy(update={"vgg": vgg or str(files["vgg"])}))


def from_path(path: Path, options: YtmtOptions) -> YtmtMethod:
    """Load a model folder or an official checkpoint, which must be of this family.

    Raises:
        ModelError: of another method.
    """
    return MODELS.read(path, options)


def download(
    name: str, yes: bool, sources: Mapping[str, str], say: Say, report: ReportBytes | None = None
) -> Path:
    """Fetch the authors' checkpoint and VGG-19, and convert them into one folder.

    A VGG-19 that `load_vgg19` would find is taken instead of fetched; see
    `dereflect.methods.family.Download`.
    """
    vgg = sources.get("vgg") or _found_vgg()
    if vgg is not None and not Path(vgg).expanduser().exists():
        raise InputError(vgg, "no such file", setting="vgg")
    card = _card(name, vgg)
    download_files(card, yes, {part: path for part, path in sources.items() if part != "vgg"}, say, report)
    files = local_files(card)
    converted = converted_folder(FAMILY.card(name))
    say(f"converting to {converted}")
    method = from_path(files["weights"], YtmtOptions(vgg=vgg or str(files["vgg"])))
    method.save_pretrained(converted)
    return converted


def _runnable(method: YtmtMethod) -> YtmtMethod:
    if method.config.hypercolumn and method.system.vgg is None:
        raise ModelError(
            "none",
            "this YTMT was loaded for conversion only; load it with vgg=PATH to run it",
            setting="vgg",
        )
    return method


def _card(name: str, vgg: str | None) -> ModelCard:
    """The card, without VGG-19 among its files where that is at hand: it is read from where it lies."""
    card = FAMILY.card(name)
    return card if vgg is None else replace(card, files=card.files[:1])


def _found_vgg() -> str | None:
    found = find_vgg19()
    return None if found is None else str(found)


def _vgg(config: YtmtConfig, options: YtmtOptions) -> Vgg19 | None:
    if not config.hypercolumn or options.vgg == "none":
        return None
    return load_vgg19(options.vgg)


def _vgg_entries(system: YtmtSystem) -> dict[str, Tensor]:
    return {key: value for key, value in system.state_dict().items() if key.startswith("vgg.")}


MODELS = ModelFiles("YTMT", YtmtMethod.family, recognises, from_checkpoint, from_folder)

"""DMDNet as the catalog builds it: network, memory banks and depth network behind one method."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from dereflect.errors import UNNAMED, InputError, ModelError, Option, Remedy
from dereflect.methods.contract import Method, Progress, Traits
from dereflect.methods.dmdnet.config import DMDNetConfig, Routing, Scan, StateSpace
from dereflect.methods.dmdnet.depth import DepthNetwork, download_depth_weights, load_depth_network
from dereflect.methods.dmdnet.fast.network import FastDMDNet
from dereflect.methods.dmdnet.network import DMDNet
from dereflect.methods.dmdnet.official import BANK_MARK, config_of, is_banks, network_state, read_banks
from dereflect.methods.dmdnet.orders import OrderBook
from dereflect.methods.options import MethodOptions
from dereflect.weights import check_keys, read_checkpoint

KEPT_WIDE = (".fuse.0.weight", ".dt_projs_bias_channel", ".A_logs_ch_T", ".A_logs_ch_R")
"""Ends of the names of tables that order or scan, and so stay float32 in half precision."""

BANKS = Option("banks", "memory_banks_latest.pt", setting=True)
DEPTH = Option("depth", "dpt_next_vit_large_384.pt", setting=True)
"""How errors name the two files that go with the authors' network."""


class DMDNetOptions(MethodOptions):
    """The ``--set`` settings of DMDNet. Its switches act on weights as they were trained."""

    banks: str | None = Field(
        None, description="the authors' memory_banks_latest.pt, for their network's file"
    )
    depth: str | None = Field(None, description="dpt_next_vit_large_384.pt of MiDaS v3.1, or 'download'")
    depth_sha256: str = Field(
        "", description="checksum that a download of it must have; else the first one's is kept"
    )
    transmission_scan: Scan | None = Field(None, description="order in which the transmission is scanned")
    reflection_scan: Scan | None = Field(None, description="order in which the reflection is scanned")
    state_space: StateSpace | None = Field(
        None, description="whether the scan's matrices are mixed with those of the depth map"
    )
    position_code: bool | None = Field(None, description="whether the position code is added before the scan")
    memory: bool | None = Field(None, description="whether the memory expert modules act")
    routing: Routing | None = Field(
        None, description="experts for batches: each picture's own, or the shared"
    )

    def switches(self) -> dict[str, Any]:
        """Those given that are settings of the network too."""
        return self.model_dump(exclude_none=True, exclude={"banks", "depth", "depth_sha256"})


class DMDNetMethod(Method):
    """The whole separation: one depth pass and one network pass a picture."""

    family = "dmdnet"
    traits = Traits(
        size_multiple=32,
        min_size=32,
        working_size=1024,
        tileable=False,  # orders and pooled memories need the whole picture
        bytes_per_pixel=3200,  # float32, 1024x1024: the peak less the weights, benchmarks/dmdnet.py
    )

    def __init__(self, config: DMDNetConfig) -> None:
        super().__init__()
        self.config = config
        self.network = DMDNet(config)
        self.depth = DepthNetwork()

    def forward(
        self,
        blended: Tensor,
        *,
        generator: torch.Generator | None = None,
        progress: Progress | None = None,
        orders: OrderBook | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See `Method.forward`; `orders` forces or records scan orders.

        Raises:
            InputError: a pixel is not finite.
        """
        if not torch.isfinite(blended).all():
            raise InputError(
                UNNAMED, "holds pixels that are not finite numbers; replace them before separating"
            )
        low = self.dtype in (torch.float16, torch.bfloat16)
        with torch.no_grad(), torch.autocast(blended.device.type, dtype=self.dtype, enabled=low):
            done = FastDMDNet(self.network)(blended, self.depth.features(blended), orders)
        return done.transmission.float(), done.reflection.float()

    def prepare(self, device: torch.device, dtype: torch.dtype) -> Method:
        """In half precision, convolutions and products are computed in it, and their weights held in it.

        Orders, scans and norms never are: equal rounded values would tie and change the orders.
        """
        self.dtype = dtype
        if dtype in (torch.float16, torch.bfloat16):
            for name, value in (*self.named_parameters(), *self.network.named_buffers()):
                if value.dim() > 1 and not name.endswith(KEPT_WIDE):
                    value.data = value.data.to(dtype)
        self.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self.eval()


def recognises(checkpoint: Mapping[str, Any]) -> bool:
    """Whether this is the authors' network file or their banks file."""
    return network_state(checkpoint) is not None or is_banks(checkpoint)


def from_checkpoint(path: Path, checkpoint: Mapping[str, Any], options: DMDNetOptions) -> Method:
    """Build from the authors' network file, with their banks and the depth weights given as options."""
    if is_banks(checkpoint):
        raise ModelError(
            path,
            "these are DMDNet's memory banks",
            remedy=Remedy("load the network's file, with {}", Option("banks", path, setting=True)),
        )
    state = network_state(checkpoint)
    assert state is not None
    config = config_of(state, str(path))
    config = DMDNetConfig.from_mapping(dataclasses.asdict(config) | options.switches(), str(path))
    if BANK_MARK not in state:
        if options.banks is None:
            raise ModelError(
                path,
                "holds the network without its memory banks; with others its results are wrong",
                remedy=Remedy("give the authors' banks file: {}", BANKS),
            )
        state |= read_banks(Path(options.banks).expanduser(), config)
    with torch.device("meta"):
        method = DMDNetMethod(config)
    check_keys(method.network.state_dict(), state, str(path))
    method.network.load_state_dict({key: value.float() for key, value in state.items()}, assign=True)
    method.depth = depth_from_options(options)
    return method.eval().requires_grad_(False)


def from_folder(folder: Path, config: Mapping[str, Any], options: DMDNetOptions) -> Method:
    """Load a saved folder: config.json and model.safetensors.

    The tensors are network, banks and, if it was saved with them, depth.
    """
    if options.banks is not None:
        raise InputError(
            options.banks, "a model folder holds its banks already; leave it out", setting="banks"
        )
    settings = DMDNetConfig.from_mapping(dict(config) | options.switches(), str(folder / "config.json"))
    content = read_checkpoint(folder / "model.safetensors")
    state = {key: value.float() if value.is_floating_point() else value for key, value in content.items()}
    with torch.device("meta"):
        method = DMDNetMethod(settings)
    if not any(key.startswith("depth.") for key in state):
        check_keys(method.network.state_dict(), _part(state, "network."), str(folder))
        method.network.load_state_dict(_part(state, "network."), assign=True)
        method.depth = depth_from_options(options)
        return method.eval().requires_grad_(False)
    check_keys(method.state_dict(), state, str(folder))
    method.load_state_dict(state, assign=True)
    if options.depth is not None:
        method.depth = depth_from_options(options)
    return method.eval().requires_grad_(False)


def from_name(name: str, options: DMDNetOptions) -> Method:
    """The authors' weights are theirs to give: say which files are needed."""
    raise ModelError(
        name,
        "has no embedded weights; get the authors' two files and MiDaS's depth weights",
        remedy=Remedy(
            "load model_latest.pt with {} and {}, or a folder written by dereflect models convert",
            BANKS,
            DEPTH,
        ),
    )


def depth_from_options(options: DMDNetOptions) -> DepthNetwork:
    """The depth network from ``depth=PATH``, or ``depth=download``.

    Raises:
        ModelError: nothing given, or weights of another network.
    """
    if not options.depth:
        raise ModelError(
            "DMDNet",
            "needs the depth network of MiDaS v3.1",
            remedy=Remedy("give {} or {}", DEPTH, Option("depth", "download", setting=True)),
        )
    if options.depth == "download":
        return load_depth_network(download_depth_weights(options.depth_sha256))
    return load_depth_network(Path(options.depth).expanduser())


def _part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}

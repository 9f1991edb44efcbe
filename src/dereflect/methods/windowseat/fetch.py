"""The weights of WindowSeat: where they are, what they need, and fetching them on the user's word.

They are kept as the hub has them: nothing is converted, since a copy would take another 43 GB.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from dereflect.devices import available_memory
from dereflect.downloads import ReportBytes, fetch_from_hub
from dereflect.errors import InputError, ModelError, Option, Remedy
from dereflect.methods.downloads import Say
from dereflect.methods.windowseat.loading import ADAPTER, BASE
from dereflect.weights import cache_folder

INDEX = "transformer/diffusion_pytorch_model.safetensors.index.json"
BASE_FILES = ("vae/config.json", "vae/diffusion_pytorch_model.safetensors", "transformer/config.json", INDEX)
ADAPTER_FILES = (
    "model_index.json",
    "transformer_lora/adapter_config.json",
    "transformer_lora/pytorch_lora_weights.safetensors",
    "text_embeddings/state_dict.safetensors",
)
SOURCES = {"base": (BASE, BASE_FILES), "adapter": (ADAPTER, ADAPTER_FILES)}
GIGABYTES = {"base": 41.2, "adapter": 3.5}
"""Of each source, on the disk; the adapter's is 1.7 or 3.4, by a dtype that is not published."""
QUANTISED_SHARE = 4.5 / 16
"""Memory of 4-bit weights with a scale for every 64, by that of bfloat16."""
ACTIVATIONS = 3e9
"""Bytes that a run takes beside the weights: an estimate, not a measurement."""
WHOLE, QUANTISED = 42.8e9 + ACTIVATIONS, 13.5e9 + ACTIVATIONS
"""Bytes of the published weights at work, in bfloat16 and with the transformer in 4 bits."""


def place(source: str) -> Path:
    """Where a source is kept, or will be."""
    return cache_folder() / "windowseat" / source


def notice(missing: list[str]) -> str:
    """What would be fetched, from where, how large, under which licence, and what running it needs."""
    parts = [
        f"{GIGABYTES[name]:.1f} GB from huggingface.co/{SOURCES[name][0]} (Apache-2.0)" for name in missing
    ]
    total, free = sum(GIGABYTES[name] for name in missing), _free_disk()[1] / 1e9
    return (
        f"about {total:.0f} GB: {' and '.join(parts)}; {free:.0f} GB are free on the disk, and it runs in "
        f"about {WHOLE / 1e9:.0f} GB of memory, or {QUANTISED / 1e9:.0f} GB of a CUDA GPU in 4 bits"
    )


def check_present(base: Path, adapter: Path) -> None:
    """Refuse to start without the parts.

    Raises:
        ModelError: a part is not there; says what to fetch or to give.
    """
    marks = {"base": base / "vae/config.json", "adapter": adapter / "model_index.json"}
    missing = [name for name, mark in marks.items() if not mark.is_file()]
    if missing:
        given = " and ".join(f"{name}=FOLDER" for name in missing)
        raise ModelError(
            "windowseat",
            f"its weights are not here ({', '.join(missing)}); they are {notice(missing)}; "
            f"fetch them with  dereflect models download windowseat --yes  or give the settings {given}",
        )


def is_here() -> bool:
    """Whether both parts are where they are downloaded to."""
    try:
        check_present(place("base"), place("adapter"))
    except ModelError:
        return False
    return True


def check_memory(base: Path, quantised: bool) -> None:
    """Refuse to load what does not fit.

    Raises:
        InputError: too little memory; says how much is needed, and what needs less.
    """
    sizes = {
        part: sum(file.stat().st_size for file in (base / part).glob("*.safetensors"))
        for part in ("vae", "transformer")
    }
    share = QUANTISED_SHARE if quantised else 1.0
    needed = sizes["vae"] + share * sizes["transformer"]
    if sizes["transformer"] > ACTIVATIONS:  # test models are smaller than what a run takes
        needed += ACTIVATIONS
    device = torch.device("cuda" if quantised else "cpu")
    free = available_memory(device)
    if needed > free:
        less = "" if quantised else "; the setting quantised=on needs a CUDA GPU and a third of it"
        raise InputError(
            None,
            f"windowseat needs about {needed / 1e9:.0f} GB of memory, {free / 1e9:.0f} GB are free{less}",
        )


def check_move(network: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Refuse to bring weights to a device or a dtype where they do not fit.

    Raises:
        InputError: too little memory; says how much is needed, and what needs less.
    """
    numbers = sum(parameter.numel() for parameter in network.parameters())
    wanted = numbers * torch.finfo(dtype).bits // 8
    held = sum(p.numel() * p.element_size() for p in network.parameters() if p.device.type == device.type)
    free = available_memory(device)
    if wanted - held > free:
        name = str(dtype).removeprefix("torch.")
        raise InputError(
            None,
            f"windowseat in {name} needs about {(wanted - held) / 1e9:.0f} GB more on {device}, "
            f"{free / 1e9:.0f} GB are free",
            remedy=Remedy(
                "{} needs less, {} least",
                Option("dtype", "bfloat16"),
                Option("quantised", "on", setting=True),
            ),
        )


def download(
    yes: bool,
    sources: Mapping[str, str],
    say: Say,
    report: ReportBytes | None = None,
    endpoint: str | None = None,
) -> Path:
    """Fetch what is not given as a local folder; see `dereflect.methods.family.Download`.

    Args:
        sources: local folders, laid out as on the hub; they are used where they are, and given at every run
            as the settings ``base`` and ``adapter``.
        endpoint: address of the hub.

    Raises:
        InputError: an unknown source, a folder that is not there, or too little disk space.
        ModelError: no consent, or a failed download.
    """
    for name, text in sources.items():
        if name not in SOURCES:
            raise InputError(text, "unknown; give base=FOLDER or adapter=FOLDER", setting=name)
        if not Path(text).expanduser().is_dir():
            raise InputError(text, "no such folder", setting=name)
    missing = [name for name in SOURCES if name not in sources]
    if missing and not yes:
        given = [Option(name, "FOLDER", setting=True) for name in SOURCES]
        remedy = Remedy("give {} to agree, or {} and {}", Option("yes", True), *given)
        raise ModelError("windowseat", f"this would fetch {notice(missing)}", remedy=remedy)
    _check_disk(missing)
    for name in missing:
        repository, files = SOURCES[name]
        say(f"fetching {repository}")
        for file in files:
            fetch_from_hub(repository, file, place(name), endpoint=endpoint, report=report)
        if name == "base":
            for shard in shards(place(name) / INDEX):
                fetch_from_hub(
                    repository, f"transformer/{shard}", place(name), endpoint=endpoint, report=report
                )
    return place("base").parent


def shards(index: Path) -> list[str]:
    """The files that an index of sharded weights names.

    Raises:
        ModelError: not such an index.
    """
    try:
        files = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise ModelError(index, "is not an index of weights") from error
    if any(Path(file).name != file for file in files):
        raise ModelError(index, "names files outside of its folder")
    return sorted(files)


def _free_disk() -> tuple[Path, int]:
    """The folder on whose disk the cache is or will be, and the bytes that are free there."""
    folder = cache_folder()
    while not folder.exists():
        folder = folder.parent
    return folder, shutil.disk_usage(folder).free


def _check_disk(missing: list[str]) -> None:
    folder, free = _free_disk()
    have = sum(file.stat().st_size for name in missing for file in place(name).rglob("*") if file.is_file())
    needed = 1e9 * sum(GIGABYTES[name] for name in missing) - have
    if needed > free:
        raise InputError(
            folder,
            f"has {free / 1e9:.0f} GB free, and {needed / 1e9:.0f} GB are needed; "
            "set DEREFLECT_CACHE to a folder on another disk",
        )

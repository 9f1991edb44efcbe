"""Names to ready methods: what can be loaded, and how each kind of source is recognised."""

from __future__ import annotations

import difflib
import importlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from dereflect.errors import InputError, ModelError
from dereflect.methods.contract import Family, Method, Options

FAMILIES = {
    "default": "dereflect.methods.default.method",
    "ytmt": "dereflect.methods.ytmt.method",
    "diffrs": "dereflect.methods.diffrs.method",
    "dmdnet": "dereflect.methods.dmdnet.method",
}
"""Family names to their modules. A new method adds its line here and its card below."""


@dataclass(frozen=True)
class ModelCard:
    """What a person wants to know before loading a model."""

    name: str
    family: str
    summary: str
    paper: str
    licence: str
    weights: str
    """Where the weights come from: "embedded", or what to fetch."""
    megabytes: float
    speed: str
    """Measured, with the machine; "" where it was not."""
    quality: str
    """Measured, with the data; "" where it was not."""
    title: str = ""
    """What the web page calls it."""
    plain: str = ""
    """Speed and quality in everyday words, for the web page."""


CARDS = {
    card.name: card
    for card in (
        ModelCard(
            name="default",
            family="default",
            summary="fast two-stream network of our own, for any machine",
            paper="",
            licence="Apache-2.0 (encoder weights BSD-2-Clause)",
            weights="embedded",
            megabytes=21.2,
            speed="0.25 s for 1 megapixel, 0.74 s for 12, on 2 CPU threads of an EPYC in bfloat16",
            quality="T +3.4 dB PSNR over the photo on 9 held-out real pairs, +5.6 on CEILNet's 100",
            title="Everyday",
            plain="Some seconds on any computer. Best on soft reflections; "
            "hard and bright ones stay in part.",
        ),
        ModelCard(
            name="ytmt",
            family="ytmt",
            summary="two-stage dual-stream network UCT of Hu & Guo; the authors' checkpoint or your own",
            paper="arXiv 2110.10546 (NeurIPS 2021)",
            licence="weights: the authors' terms; VGG-19: torchvision's",
            weights="fetch ytmt_uct_sirs_68_077_00595364.pt and VGG-19 (see docs/methods/ytmt.md)",
            megabytes=308.0,
            speed="",
            quality="",
            title="YTMT, a research network of 2021",
            plain="Slower than the everyday model. Works on small photos best.",
        ),
        ModelCard(
            name="diffrs",
            family="diffrs",
            summary="joint latent diffusion: both layers generated together; slow, for a GPU or patience",
            paper="arXiv 2606.04107 (CVPR 2026)",
            licence="weights under the authors' terms; base model CreativeML Open RAIL++-M",
            weights="fetched by  dereflect models download diffrs",
            megabytes=4070.0,
            speed="",
            quality="",
            title="DiffRS, generative",
            plain="Slow: for a graphics card, or much patience. Repaints what a reflection hides, "
            "and may invent.",
        ),
        ModelCard(
            name="dmdnet",
            family="dmdnet",
            summary="depth-guided state-space network with memory banks, day and night",
            paper="arXiv 2601.00322 (AAAI 2026)",
            licence="the authors' weights: see their repository",
            weights="fetch the authors' model_latest.pt and memory_banks_latest.pt, "
            "and dpt_next_vit_large_384.pt of MiDaS v3.1",
            megabytes=640.0,
            speed="",
            quality="",
            title="DMDNet, for day and night",
            plain="Slow without a graphics card. Judges by how far away things are.",
        ),
    )
}


def family(name: str) -> Family:
    """Import a family's module by its name in `FAMILIES`."""
    return cast(Family, importlib.import_module(FAMILIES[name]))


def load_method(source: str | os.PathLike[str], options: Options | None = None) -> tuple[Method, str]:
    """Build a method from a catalog name, a folder, a checkpoint file or a hub id (``owner/name``).

    Args:
        source: what to load. An existing path wins over a name.
        options: free settings of the method (``--set key=value``).

    Returns:
        (method, name): the method in float32 on the CPU, and the name to show for it.

    Raises:
        ModelError: nothing of that name (the nearest are named), or weights that do not fit.
        InputError: a file that cannot be read.
    """
    options = dict(options or {})
    text = os.fspath(source)
    path = Path(text).expanduser()
    if path.is_dir():
        return _load_folder(path, options), path.name
    if path.is_file():
        return _load_file(path, options), path.stem
    if text in CARDS:
        card = CARDS[text]
        return family(card.family).from_name(text, options), text
    if text.count("/") == 1 and not path.suffix and not text.startswith((".", "/", "~")):
        return _load_hub(text, options), text
    near = difflib.get_close_matches(text, CARDS, n=3, cutoff=0.3) or list(CARDS)
    raise ModelError(
        f"no model named '{text}', and no such file or folder; did you mean {' or '.join(near)}?"
    )


def _load_folder(folder: Path, options: Options) -> Method:
    if (folder / "model_index.json").is_file() and "diffrs" in FAMILIES:
        return family("diffrs").from_folder(folder, {}, options)
    config_file = folder / "config.json"
    if not config_file.is_file():
        raise ModelError(f"{folder}: not a model folder (no config.json in it)")
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{config_file}: not valid JSON ({error})") from error
    name = config.get("method") if isinstance(config, dict) else None
    if name not in FAMILIES:
        raise ModelError(f"{config_file}: method '{name}' is unknown; one of {', '.join(FAMILIES)}")
    return family(name).from_folder(folder, config.get("config", {}), options)


def _load_file(path: Path, options: Options) -> Method:
    from dereflect.images import PICTURE_SUFFIXES
    from dereflect.weights import read_checkpoint

    if path.name == "config.json" or (
        path.name == "model.safetensors" and path.with_name("config.json").is_file()
    ):
        return _load_folder(path.parent, options)
    if path.suffix.lower() in PICTURE_SUFFIXES:
        raise InputError(f"{path}: is a picture, not a model")
    checkpoint: Mapping[str, Any] = read_checkpoint(path)
    for name in FAMILIES:
        found = family(name)
        if found.recognises(checkpoint):
            return found.from_checkpoint(path, checkpoint, options)
    keys = ", ".join(list(checkpoint)[:5])
    raise ModelError(f"{path}: a checkpoint of no known method (its first keys: {keys})")


def _load_hub(name: str, options: Options) -> Method:
    from dereflect.errors import MissingExtra

    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingExtra("huggingface-hub", "diffusion", f"loading '{name}' from the hub") from error
    try:
        folder = snapshot_download(name)
    except Exception as error:
        first = (str(error).splitlines() or ["?"])[0]
        raise ModelError(
            f"'{name}' is neither a model name nor a path, and the hub gave no answer ({first})"
        ) from error
    return _load_folder(Path(folder), options)

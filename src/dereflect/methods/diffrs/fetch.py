"""The published weights of DiffRS: fetched only when asked, converted once, kept in the cache.

Two sources make one pipeline: the authors' release (UNet, fusion blocks, synthesis network, as pickles) and
the base model Stable Diffusion 2.1 (autoencoder, scheduler, and the text encoder that embeds the two prompts,
here and only here).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from dereflect.downloads import ReportBytes, fetch_from_hub
from dereflect.errors import InputError, MissingExtra, ModelError, Option, Remedy, first_line
from dereflect.files import writing
from dereflect.methods.diffrs.official import (
    BASE,
    FUSION_FILE,
    RELEASE,
    SYNTHESIS_FILE,
    UNET_FILE,
    fusion_state,
    synthesis_state,
)
from dereflect.weights import cache_folder, check_keys, read_checkpoint

RELEASE_FILES = (UNET_FILE, FUSION_FILE, SYNTHESIS_FILE)
BASE_FILES = (
    "scheduler/scheduler_config.json",
    "unet/config.json",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/vocab.json",
    "tokenizer/special_tokens_map.json",
    "tokenizer/tokenizer_config.json",
)
SOURCES = {"release": (RELEASE, RELEASE_FILES), "base": (BASE, BASE_FILES)}


def installed_folder() -> Path:
    """Where the converted weights are, or will be."""
    return cache_folder() / "diffrs"


def is_here() -> bool:
    """Whether the converted weights are there."""
    return (installed_folder() / "model_index.json").is_file()


def notice() -> str:
    """What would be fetched, from where, how large, and under which licence."""
    return (
        f"about 5.4 GB: 3.7 GB from huggingface.co/{RELEASE} (the authors' weights, under the licence that "
        f"its page states) and 1.7 GB from huggingface.co/{BASE} (Stable Diffusion 2.1, CreativeML Open "
        "RAIL++-M)"
    )


def download(
    yes: bool,
    sources: Mapping[str, str],
    say: Callable[[str], None],
    report: ReportBytes | None = None,
    endpoint: str | None = None,
) -> Path:
    """Fetch what is not given as a local folder, convert, and put the pipeline into the cache.

    Args:
        yes: the user's consent to fetching.
        sources: local folders by name, "release" and "base", laid out as on the hub.
        say: told in words what happens.
        report: told how far each file is.
        endpoint: address of the hub.

    Returns:
        The folder of the converted pipeline.

    Raises:
        InputError: an unknown source, or a folder that is not there.
        ModelError: no consent, a failed download, or weights that do not fit.
    """
    for name, text in sources.items():
        if name not in SOURCES:
            raise InputError(text, "unknown; give release=FOLDER or base=FOLDER", setting=name)
        if not Path(text).expanduser().is_dir():
            raise InputError(text, "no such folder", setting=name)
    target = installed_folder()
    missing = [name for name in SOURCES if name not in sources]
    if missing and not yes:
        given = [Option(name, "FOLDER", setting=True) for name in SOURCES]
        remedy = Remedy("give {} to agree, or {} and {}", Option("yes", True), *given)
        raise ModelError("diffrs", f"this would fetch {notice()}", remedy=remedy)
    parts = target.with_name("diffrs.download")
    folders = {name: Path(text).expanduser() for name, text in sources.items()}
    for name in missing:
        repository, files = SOURCES[name]
        folders[name] = parts / name
        say(f"fetching {len(files)} files of {repository}")
        for file in files:
            fetch_from_hub(repository, file, folders[name], endpoint=endpoint, report=report)
    say("converting to safetensors")
    convert(folders["release"], folders["base"], target)
    if parts.is_dir():
        shutil.rmtree(parts)  # our own copies of what has been converted
    return target


def convert(release: Path, base: Path, target: Path) -> None:
    """Build the pipeline of the release and a base model, and save it as `target`.

    Both are laid out as on the hub.

    The pickles are read safely, every key is checked, and `target` is complete or absent.

    Raises:
        InputError: a file is missing.
        ModelError: the files do not fit: another base model, or other keys.
    """
    for folder, files in (
        (release, RELEASE_FILES),
        (base, ("scheduler/scheduler_config.json", "unet/config.json")),
    ):
        for name in files:
            if not (folder / name).is_file():
                raise InputError(folder / name, "no such file; the folder must be laid out as on the hub")
    check_base(base)
    try:
        from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

        from dereflect.methods.diffrs.fusion import FidelityFusion
        from dereflect.methods.diffrs.pipeline import DiffRSPipeline
        from dereflect.methods.diffrs.synthesis import LatentSynthesis
    except ImportError as error:
        raise MissingExtra(error.name or "diffusers", "diffusion", "the DiffRS method") from error

    prompts = embed(base)  # first, so that the text encoder is gone when the UNet comes
    scheduler = DDIMScheduler.from_pretrained(base, subfolder="scheduler")
    settings = json.loads((base / "unet/config.json").read_text(encoding="utf-8"))
    settings |= {"in_channels": 8, "num_class_embeds": 2}
    vae = from_base(AutoencoderKL, base, "vae")
    widths = vae.config.block_out_channels
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(settings)
        fusion = FidelityFusion.for_autoencoder(widths, groups=vae.config.norm_num_groups)
        synthesis = LatentSynthesis(latent_channels=vae.config.latent_channels)
    for module, name, renamed in (
        (unet, UNET_FILE, dict),
        (fusion, FUSION_FILE, fusion_state),
        (synthesis, SYNTHESIS_FILE, synthesis_state),
    ):
        _fill(module, release / name, renamed)
    pipeline = DiffRSPipeline(
        unet=unet, vae=vae, synthesis=synthesis, prompts=prompts, scheduler=scheduler, fusion=fusion
    )
    with writing(target) as temporary:
        pipeline.save_pretrained(temporary, safe_serialization=True)


def _fill(module: Any, path: Path, renamed: Callable[[Any], dict[str, Any]]) -> None:
    state = renamed(read_checkpoint(path))
    check_keys(module.state_dict(), state, str(path))
    module.load_state_dict({key: tensor.float() for key, tensor in state.items()}, assign=True)
    module.eval()


def check_base(base: Path) -> None:
    """Another base model is told by its configurations, before gigabytes are read."""
    scheduler = json.loads((base / "scheduler/scheduler_config.json").read_text(encoding="utf-8"))
    kind = scheduler.get("prediction_type", "epsilon")
    if kind != "v_prediction":
        raise ModelError(
            base, f"predicts '{kind}', DiffRS needs v_prediction; give Stable Diffusion 2.1 (768-v)"
        )


def from_base(kind: Any, base: Path, name: str) -> Any:
    """Load one part of a base model from its folder.

    Raises:
        ModelError: it is missing or damaged.
    """
    try:
        return kind.from_pretrained(base / name, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(base / name, f"cannot be loaded ({first_line(error)})") from error


def embed(base: Path) -> Any:
    """The two prompts, embedded by a base model's text encoder."""
    try:
        from transformers import CLIPTextModel, CLIPTokenizer

        from dereflect.methods.diffrs.prompts import embed_prompts
    except ImportError as error:
        raise MissingExtra(error.name or "transformers", "diffusion", "embedding the prompts") from error
    tokenizer = from_base(CLIPTokenizer, base, "tokenizer")
    return embed_prompts(tokenizer, from_base(CLIPTextModel, base, "text_encoder").eval())

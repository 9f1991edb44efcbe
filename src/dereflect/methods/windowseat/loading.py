"""WindowSeat's parts from two folders laid out as their repositories on the hub are."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import torch

from dereflect.errors import InputError, MissingExtra, ModelError, first_line
from dereflect.methods.windowseat.adapter import adapt, read_adapter
from dereflect.methods.windowseat.step import REDUCTION, OneStep, PromptEmbedding
from dereflect.weights import read_checkpoint

BASE, ADAPTER = "Qwen/Qwen-Image-Edit-2509", "huawei-bayerlab/windowseat-reflection-removal-v1-0"
NOT_QUANTISED = ["transformer_blocks.0.img_mod"]
"""Layers that stay as they are in 4-bit loading, as published."""
MULTIPLE = 2 * REDUCTION


def load_parts(
    base: Path, adapter: Path, dtype: torch.dtype = torch.bfloat16, quantised: bool = False
) -> tuple[OneStep, int]:
    """(network, side of its square) with the adapter beside the transformer's layers.

    Args:
        base: holds ``vae`` and ``transformer``.
        adapter: holds ``model_index.json``, ``transformer_lora`` and ``text_embeddings``.
        dtype: of the weights.
        quantised: transformer in 4 bits.

    Raises:
        MissingExtra: diffusers is not installed.
        InputError: 4 bits are asked for and cannot be had.
        ModelError: a part is missing, damaged, or not of this model.
    """
    resolution = read_index(adapter)
    prompt = PromptEmbedding.of(
        read_checkpoint(adapter / "text_embeddings" / "state_dict.safetensors"), str(adapter)
    )
    state, scale = read_adapter(adapter / "transformer_lora")
    try:
        from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel
    except ImportError as error:
        raise MissingExtra("diffusers", "diffusion", "the WindowSeat method") from error
    settings: dict[str, Any] = {"quantization_config": quantisation()} if quantised else {}
    vae = _part(AutoencoderKLQwenImage, base / "vae", dtype)
    transformer = _part(QwenImageTransformer2DModel, base / "transformer", dtype, **settings)
    adapt(transformer, state, scale, str(adapter / "transformer_lora"))
    return OneStep(vae, transformer, prompt).eval().requires_grad_(False), resolution


def read_index(adapter: Path) -> int:
    """The side of the network's square, from the release's ``model_index.json``.

    Raises:
        ModelError: not there, of another base model, or a side that the network cannot have.
    """
    path = adapter / "model_index.json"
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        base, resolution = index["base_model"], int(index["processing_resolution"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(path, "is not the index of a WindowSeat release") from error
    if base != BASE:
        raise ModelError(path, f"names the base model '{base}'; only {BASE} is known")
    if resolution < MULTIPLE or resolution % MULTIPLE:
        raise ModelError(path, f"states the side {resolution}, which is not a multiple of {MULTIPLE}")
    return resolution


def quantisation() -> Any:
    """How diffusers is asked for 4 bits as published.

    Raises:
        InputError: no bitsandbytes, or no CUDA GPU.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(
            "on",
            "4 bits need bitsandbytes: run pip install bitsandbytes, or leave this off",
            setting="quantised",
        )
    if not torch.cuda.is_available():
        raise InputError("on", "4 bits need a CUDA GPU; leave this off", setting="quantised")
    from diffusers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=NOT_QUANTISED,
    )


def _part(kind: Any, folder: Path, dtype: torch.dtype, **settings: Any) -> Any:
    if not (folder / "config.json").is_file():
        raise ModelError(folder, f"has no config.json; a folder of {BASE} with vae and transformer is needed")
    try:
        return kind.from_pretrained(
            folder, torch_dtype=dtype, local_files_only=True, use_safetensors=True, **settings
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(folder, f"cannot be loaded ({first_line(error)})") from error

"""Weights on disk: safe reading, atomic writing, verified download, one cache folder."""

from __future__ import annotations

import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dereflect.errors import InputError, ModelError, first_line
from dereflect.files import writing

if TYPE_CHECKING:
    from dereflect.downloads import ReportBytes


def cache_folder() -> Path:
    """Folder of downloaded weights: ``$DEREFLECT_CACHE``, else the platform's user cache folder."""
    if chosen := os.environ.get("DEREFLECT_CACHE"):
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_cache_dir("dereflect"))


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a safetensors file or a `torch.save` file without running any code that it may hold.

    Returns:
        The file's content: a flat or nested dictionary whose leaves are CPU tensors and plain values.

    Raises:
        InputError: the file is missing, truncated or of no known format.
        ModelError: the file is a pickle that holds more than tensors and plain values, and is refused.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(path, "no such weights file")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return dict(load_file(path))
        except (SafetensorError, OSError) as error:
            raise InputError(
                path, f"not a readable safetensors file ({first_line(error)}); fetch it again"
            ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd pickle protocols; what cannot be read is an error
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if _is_pickle(path):
            raise ModelError(
                path,
                "refused, because this pickle asks to run code or holds more than tensors; "
                "only safe loading is done (convert it to safetensors where you trust it)",
            ) from error
        raise InputError(path, "not a checkpoint (neither safetensors nor a torch.save file)") from error
    except (EOFError, RuntimeError, OSError, ValueError, KeyError) as error:
        reason = f"not a readable checkpoint ({first_line(error)}); fetch it again"
        raise InputError(path, reason) from error
    if isinstance(content, list):  # e.g. a list of per-block dictionaries
        content = {str(index): item for index, item in enumerate(content)}
    if not isinstance(content, Mapping):
        raise ModelError(path, f"holds a {type(content).__name__}, not a dictionary of tensors")
    return dict(content)


def _is_pickle(path: Path) -> bool:
    if zipfile.is_zipfile(path):
        return True
    with path.open("rb") as file:
        return file.read(1) == b"\x80"


def read_config(folder: Path) -> tuple[str | None, dict[str, Any]]:
    """(method, config) of a model folder's ``config.json``.

    Raises:
        ModelError: the file is not there or not valid JSON.
    """
    path = folder / "config.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(folder, "not a model folder (no config.json in it)") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(path, f"not valid JSON ({first_line(error)})") from error
    if not isinstance(content, dict) or not isinstance(content.get("config", {}), dict):
        return None, {}
    method = content.get("method")
    return method if isinstance(method, str) else None, content.get("config", {})


def save_state(state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as safetensors, whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    from safetensors.torch import save_file

    seen: set[int] = set()
    tensors = {}
    for key, tensor in state.items():
        plain = tensor.detach().cpu().contiguous()
        # The format stores no sharing: a second name of the same memory is written out as a copy of its own.
        tensors[key] = plain.clone() if tensor.data_ptr() in seen else plain
        seen.add(tensor.data_ptr())
    with writing(path) as temporary:
        save_file(tensors, temporary, metadata=dict(metadata or {}) | {"format": "pt"})


def check_keys(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], what: str) -> None:
    """Refuse a state dict whose keys or shapes differ from `expected`; names the first five of each kind."""
    missing = [key for key in expected if key not in found]
    unexpected = [key for key in found if key not in expected]
    shapes = [
        f"{key} {tuple(found[key].shape)} instead of {tuple(tensor.shape)}"
        for key, tensor in expected.items()
        if key in found and found[key].shape != tensor.shape
    ]
    parts = [
        f"{title}: {', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''}"
        for title, names in (("missing", missing), ("unexpected", unexpected), ("wrong shape", shapes))
        if names
    ]
    if parts:
        raise ModelError(what, f"the weights do not fit; {'; '.join(parts)}")


def download(url: str, name: str, checksum: str = "", report: ReportBytes | None = None) -> Path:
    """Fetch `url` into the cache as `name`, unless it is there already; only when the user asks for it.

    Args:
        name: path within `cache_folder`.
        checksum: as of `dereflect.downloads.fetch`; "" keeps the checksum of what comes first.
        report: told how far it is.

    Raises:
        ModelError, InputError: as `dereflect.downloads.fetch`.
    """
    from dereflect.downloads import fetch

    return fetch(url, cache_folder() / name, checksum, report=report)

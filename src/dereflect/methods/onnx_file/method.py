"""A model in an ONNX file as the catalog builds it: onnxruntime in place of torch."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dereflect.errors import InputError, MissingExtra, ModelError, first_line
from dereflect.methods.contract import Method, Progress
from dereflect.methods.onnx_file.description import FIXED, INPUT, OUTPUTS, PREFIX, Description
from dereflect.methods.options import MethodOptions

_NO_MEMORY = re.compile(r"bad_alloc|[Ff]ailed to allocate")
_NOT_ONNX = ("INVALID_PROTOBUF", "NO_SUCHFILE", "NO_MODEL")


class OnnxMethod(Method):
    """A model that onnxruntime runs on the processor.

    Args:
        path: of a file that `dereflect.export.writing.export` wrote.
        shown: what errors call it; its path, if None.

    Raises:
        MissingExtra: onnxruntime is not installed.
        InputError: not an ONNX file.
        ModelError: a file of another project, or one that this onnxruntime cannot run.
    """

    family = "onnx_file"
    devices = ("cpu",)

    def __init__(self, path: str | os.PathLike[str], shown: Path | None = None) -> None:
        super().__init__()
        self.path = shown or Path(path)
        self.session = open_session(Path(path), self.path)
        self.description = _describe(self.session, self.path)
        self.config, self.traits = self.description, self.description.traits
        self.fixed_dtype = getattr(torch, self.description.dtype)

    def prepare(self, device: torch.device, dtype: torch.dtype) -> Method:
        """Nothing is left to do: a file has its number format, and the session its place."""
        self.dtype = dtype
        return self.eval()

    def forward(
        self, blended: Tensor, *, generator: torch.Generator | None = None, progress: Progress | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `Method.forward`."""
        results = [self._run(photo[None].numpy()) for photo in blended]
        first, second = (torch.from_numpy(np.concatenate(layers)) for layers in zip(*results, strict=True))
        return first, second

    def _run(self, blended: np.ndarray[Any, Any]) -> Any:
        try:
            return self.session.run(list(OUTPUTS), {INPUT: np.ascontiguousarray(blended)})
        except Exception as error:  # onnxruntime has a dozen types for it, with no base of their own
            if _NO_MEMORY.search(str(error)):
                raise MemoryError(first_line(error)) from error
            raise ModelError(self.path, f"fails at work in onnxruntime ({first_line(error)})") from error

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Refused: an exported file holds no weights by their names.

        Raises:
            ModelError: always.
        """
        raise ModelError(self.path, "is an exported model, which cannot be converted; use it as it is")


def open_session(path: Path, shown: Path) -> Any:
    """An `onnxruntime.InferenceSession` on as many threads as torch takes.

    Args:
        path: of the file.
        shown: what errors call it.

    Raises:
        MissingExtra, InputError, ModelError: as `OnnxMethod`.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra("onnxruntime", "onnx", "running an ONNX file", shown) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what is wrong comes as an exception too
    try:
        return onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # as in `OnnxMethod.forward`
        said = first_line(error)
        if any(code in said for code in _NOT_ONNX):
            raise InputError(shown, f"not a readable ONNX file ({said}); export it again") from error
        reason = f"onnxruntime {onnxruntime.__version__} cannot run it ({said})"
        raise ModelError(shown, reason) from error


def _describe(session: Any, path: Path) -> Description:
    properties: Mapping[str, str] = session.get_modelmeta().custom_metadata_map
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if PREFIX + "format" not in properties:
        has = "; ".join(
            f"{word} {', '.join(_shape(value) for value in values)}"
            for word, values in (("takes", inputs), ("gives", outputs))
        )
        expected = f"{INPUT} {FIXED['layout']} to {' and '.join(OUTPUTS)}, with {PREFIX}* among its metadata"
        reason = f"is an ONNX model of another project (it {has}); expected {expected}"
        raise ModelError(path, f"{reason}, as dereflect export writes it")
    described = Description.from_properties(properties, path)
    found = ([value.name for value in inputs], [value.name for value in outputs])
    if found != ([INPUT], list(OUTPUTS)):
        raise ModelError(path, f"has inputs and outputs {found} in place of {INPUT} and {', '.join(OUTPUTS)}")
    return described


def _shape(value: Any) -> str:
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    return f"{value.name} {kind} {'x'.join(str(side) for side in value.shape)}"


def recognises(checkpoint: Mapping[str, Any]) -> bool:
    """Whether these are weights of an ONNX file, which no checkpoint is."""
    return False


def from_checkpoint(path: Path, checkpoint: Mapping[str, Any], options: MethodOptions) -> Method:
    """Open an ONNX file."""
    return OnnxMethod(path)


def from_folder(folder: Path, config: Mapping[str, Any], options: MethodOptions) -> Method:
    """Refused: an ONNX file needs no folder."""
    raise ModelError(folder, "give the .onnx file itself")


def from_name(name: str, options: MethodOptions) -> Method:
    """Refused: there is no ONNX file by name."""
    raise ModelError(name, "give the .onnx file itself")

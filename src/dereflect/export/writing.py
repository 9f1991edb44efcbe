"""Writing a method as an ONNX file: traced by torch, stored narrow, measured against torch, then kept."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dereflect._version import __version__
from dereflect.catalog import FAMILIES, families, family
from dereflect.errors import OVERWRITE, InputError, MissingExtra, ModelError, first_line
from dereflect.files import writing
from dereflect.methods.contract import Method, Traits
from dereflect.methods.onnx_file.description import INPUT, OUTPUTS, Description

OPSET = 18
"""Of the operators: old enough for every runtime in use, new enough for layer norms."""
DTYPES = {"float32": torch.float32, "float16": torch.float16}
WEIGHTS = ("auto", "float32", "float16", "int8")
SIZES = ((224, 320), (288, 160))
"""Heights and widths at which a file is measured, about; see `_sizes`."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    description: Description
    megabytes: float
    mean: float
    """Mean difference of the layers to torch in float32, in [0, 1]."""
    largest: float


def export(
    method: Method,
    path: str | os.PathLike[str],
    *,
    name: str,
    licence: str = "not stated",
    dtype: str = "float32",
    weights: str = "auto",
    overwrite: bool = False,
) -> Exported:
    """Write a method as an ONNX file, and measure it.

    Args:
        method: as `dereflect.catalog.load_method` gives it.
        path: where to.
        name, licence: for the file's metadata.
        dtype: what to compute in, of `DTYPES`.
        weights: how to store them, of `WEIGHTS`. ``auto`` takes float16 for each tensor that loses nothing.
        overwrite: replace a file that is there.

    Raises:
        MissingExtra: a package of the extra is not installed.
        InputError: the file cannot be written, or is there already; an unknown `dtype` or `weights`.
        ModelError: a method that cannot be exported, or an operator that ONNX or onnxruntime lacks.
    """
    for option, word, known in (("dtype", dtype, DTYPES), ("weights", weights, WEIGHTS)):
        if word not in known:
            raise InputError(word, f"unknown; one of {', '.join(known)}", option=option)
    reference = exported_form(method.family, name)
    try:
        import onnx_ir  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise MissingExtra(error.name or "onnx", "onnx", "writing an ONNX file") from error
    from dereflect.export.storage import store_weights, sum_in_float32

    path = Path(path)
    if os.path.lexists(path) and not overwrite:  # told before the work, not after it
        raise InputError(path, "exists already", remedy=OVERWRITE)
    traced = family(method.family).resolve(reference)(method, DTYPES[dtype])
    model = trace(traced, method.traits, name)
    sum_in_float32(model)
    narrowest = store_weights(model, weights)
    description = Description(name, method.family, __version__, licence, dtype, narrowest, method.traits)
    with writing(path) as temporary:
        _save(model, description, temporary)
        mean, largest = measure(method, temporary, path)
        on = " and ".join(f"{width}x{height}" for height, width in _sizes(method.traits))
        words = f"mean {mean:.1e}, largest {largest:.1e}, on made pictures of {on}"
        words += f" by onnxruntime {onnxruntime.__version__}"
        description = replace(description, difference=words)
        _save(model, description, temporary)
        megabytes = temporary.stat().st_size / 1e6
    return Exported(description, megabytes, mean, largest)


def exported_form(family_name: str, name: str) -> str:
    """Where a family's form for ONNX is built, for `Family.resolve`; `name` is the model's, for the error.

    Raises:
        ModelError: its models cannot be exported; names the families whose models can.
    """
    reference = family(family_name).traced if family_name in FAMILIES else ""
    if not reference:
        can = ", ".join(one.name for one in families() if one.traced)
        raise ModelError(name, f"models of {family_name} cannot be exported; those of {can} can")
    return reference


def trace(traced: nn.Module, traits: Traits, name: str) -> Any:
    """The graph of a module, as an `onnx_ir.Model` of free height and width.

    Raises:
        ModelError: an operator that ONNX lacks.
    """
    multiple = traits.size_multiple
    least = max(2, -(-traits.min_size // multiple))
    sides = [torch.export.Dim(side, min=least) for side in ("rows", "columns")]
    free: list[Any] = [multiple * side if multiple > 1 else side for side in sides]
    height, width = _sizes(traits)[0]
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                traced.eval(),
                (torch.rand(1, 3, height, width),),
                dynamo=True,
                verbose=False,
                input_names=[INPUT],
                output_names=list(OUTPUTS),
                dynamic_shapes=({2: free[0], 3: free[1]},),
                opset_version=OPSET,
                external_data=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ModelError(name, f"cannot be written as ONNX ({_deepest(error)})") from error
    assert program is not None
    _forget_source(program.model)
    return program.model


def measure(method: Method, path: Path, shown: Path) -> tuple[float, float]:
    """Mean and largest difference of a file's layers to the method's own, on made pictures."""
    from dereflect.methods.onnx_file.method import OnnxMethod

    written = OnnxMethod(path, shown)
    method.prepare(torch.device("cpu"), torch.float32)
    means, largest = [], 0.0
    with torch.inference_mode():
        for number, (height, width) in enumerate(_sizes(method.traits)):
            picture = made_picture(height, width, number)
            for found, wanted in zip(written(picture), method(picture), strict=True):
                difference = (found.clamp(0, 1) - wanted.clamp(0, 1)).abs()
                means.append(float(difference.mean()))
                largest = max(largest, float(difference.max()))
    return sum(means) / len(means), largest


def made_picture(height: int, width: int, seed: int) -> Tensor:
    """(1, 3, height, width) in [0, 1]: flat shapes, seen through a pane that mirrors soft ones."""
    generator = torch.Generator().manual_seed(seed)

    def shapes(coarse: int, mode: str) -> Tensor:
        few = torch.rand(1, 3, coarse, coarse, generator=generator)
        return nn.functional.interpolate(few, (height, width), mode=mode)

    scene = 0.7 * shapes(9, "nearest-exact") + 0.2 * shapes(48, "bilinear")
    mirrored = (shapes(5, "bicubic") - 0.4).clamp(0, 1)
    return (scene + 0.6 * mirrored).clamp(0, 1)


def _sizes(traits: Traits) -> list[tuple[int, int]]:
    multiple = traits.size_multiple
    return [(-(-height // multiple) * multiple, -(-width // multiple) * multiple) for height, width in SIZES]


def _forget_source(model: Any) -> None:
    """Drop what torch notes of the lines of code that a node comes from, on the machine that exports."""
    for node in model.graph:
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporter logs of operators that are not asked for."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)


def _save(model: Any, description: Description, path: Path) -> None:
    import onnx_ir

    model.metadata_props.clear()
    model.metadata_props.update(description.as_properties())
    model.producer_name, model.producer_version = "dereflect", __version__
    onnx_ir.save(model, path)


def _deepest(error: BaseException) -> str:
    """What the innermost cause says: torch wraps it in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)

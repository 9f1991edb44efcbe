"""How numbers lie in an ONNX graph: weights narrow on the disk, sums of many pixels wide at work.

A narrow weight is widened by ordinary operators (Cast, Mul by a scale, Reshape), which every runtime knows
and carries out once, when it loads the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir

FEW = 16384
"""Weights of fewer numbers stay in 16 bit: the first layers of an encoder are among them, where errors travel
furthest, and there is little to save."""
GROUP = 64
"""Numbers of an output channel that share a scale in 8 bit, where the channel can be cut so."""
LEAST = 256
"""Smaller tensors stay as they are."""
SUMS = ("ReduceMean", "ReduceSum", "GlobalAveragePool")
"""Operators that add up a whole picture, which float16 neither holds nor adds exactly."""
_LEVELS = 127


def store_weights(model: ir.Model, kind: str) -> str:
    """Store weights in a narrower format.

    Args:
        model: changed in place.
        kind: ``float32`` leaves them as they are, ``float16`` rounds them, ``auto`` does so where nothing is
            lost, and ``int8`` rounds the weights of convolutions and matrix products to 255 levels, with a
            scale for each `GROUP` numbers.

    Returns:
        The narrowest format that was used.
    """
    import onnx_ir as ir

    used = {ir.DataType.FLOAT: "float32", ir.DataType.FLOAT16: "float16"}
    narrowest = {used[value.dtype] for value in model.graph.initializers.values() if value.dtype in used}
    for value in list(model.graph.initializers.values()):
        if value.const_value is None or value.dtype not in used or value.const_value.size < LEAST:
            continue
        numbers = value.const_value.numpy()
        if kind == "int8" and value.const_value.size >= FEW and (axis := _output_axis(value)) is not None:
            _store_int8(model, value, numbers, axis)
            narrowest.add("int8")
        elif kind != "float32" and value.dtype == ir.DataType.FLOAT:
            narrow = numbers.astype(np.float16)
            if kind == "auto" and not np.array_equal(narrow.astype(np.float32), numbers):
                continue
            _replace(model, value, narrow)
            narrowest.add("float16")
    return next(name for name in ("int8", "float16", "float32") if name in narrowest)


def sum_in_float32(model: ir.Model) -> None:
    """Let the operators of `SUMS` that work in float16 work in float32 between two casts."""
    import onnx_ir as ir

    for node in list(model.graph):
        source = node.inputs[0] if node.inputs else None
        if node.op_type not in SUMS or source is None or source.dtype != ir.DataType.FLOAT16:
            continue
        result = node.outputs[0]
        wide = ir.node("Cast", [source], {"to": ir.DataType.FLOAT})
        narrow = ir.node("Cast", [result], {"to": ir.DataType.FLOAT16})
        wide.outputs[0].dtype, wide.outputs[0].shape = ir.DataType.FLOAT, source.shape
        narrow.outputs[0].dtype, narrow.outputs[0].shape = ir.DataType.FLOAT16, result.shape
        result.replace_all_uses_with(narrow.outputs[0])
        narrow.replace_input_with(0, result)
        result.dtype = ir.DataType.FLOAT
        node.replace_input_with(0, wide.outputs[0])
        model.graph.insert_before(node, wide)
        model.graph.insert_after(node, narrow)


def _output_axis(value: ir.Value) -> int | None:
    """The axis of output channels of a weight of convolutions and matrix products; None for what is none."""
    axes = set()
    for use in value.uses():
        node, place = use.node, use.idx
        if node.op_type == "Conv" and place == 1:
            axes.add(0)
        elif node.op_type == "ConvTranspose" and place == 1:
            axes.add(1)
        elif node.op_type == "Gemm" and place == 1:
            axes.add(0 if node.attributes.get_int("transB", 0) else 1)
        elif node.op_type == "MatMul" and place == 1:
            axes.add(len(value.shape or ()) - 1)
        else:
            return None
    return axes.pop() if len(axes) == 1 else None


def _store_int8(model: ir.Model, value: ir.Value, numbers: Any, axis: int) -> None:
    """Round to levels, with a scale for each `GROUP` numbers of an output channel, or for the channel."""
    rows = np.moveaxis(numbers.astype(np.float32), axis, 0).reshape(numbers.shape[axis], -1)
    grouped = axis == 0 and rows.shape[1] % GROUP == 0
    parts = rows.reshape(len(rows), -1, GROUP) if grouped else numbers.astype(np.float32)
    others = (2,) if grouped else tuple(other for other in range(numbers.ndim) if other != axis)
    scale = np.abs(parts).max(axis=others, keepdims=True) / _LEVELS
    levels = np.rint(parts / np.where(scale > 0, scale, 1)).astype(np.int8)
    _replace(model, value, levels, scale.astype(numbers.dtype))


def _replace(model: ir.Model, value: ir.Value, narrow: Any, scale: Any = None) -> None:
    """Put a narrow tensor, widened by a cast, perhaps a scale and a new shape, in an initializer's place."""
    import onnx_ir as ir

    assert value.name is not None
    assert value.dtype is not None
    assert value.shape is not None
    shape = tuple(int(side) for side in value.shape)
    stored = _constant(model, f"{value.name}.stored", narrow)
    nodes = [ir.node("Cast", [stored], {"to": value.dtype})]
    if scale is not None:
        factor = _constant(model, f"{value.name}.scale", scale)
        nodes.append(ir.node("Mul", [nodes[0].outputs[0], factor]))
    for node in nodes:
        node.outputs[0].dtype, node.outputs[0].shape = value.dtype, ir.Shape(narrow.shape)
    if narrow.shape != shape:
        wanted = _constant(model, f"{value.name}.shape", np.array(shape, np.int64))
        nodes.append(ir.node("Reshape", [nodes[-1].outputs[0], wanted]))
        nodes[-1].outputs[0].dtype, nodes[-1].outputs[0].shape = value.dtype, value.shape
    value.replace_all_uses_with(nodes[-1].outputs[0])
    del model.graph.initializers[value.name]
    model.graph.insert_before(model.graph[0], nodes)


def _constant(model: ir.Model, name: str, numbers: Any) -> ir.Value:
    import onnx_ir as ir

    made = ir.Value(name=name, const_value=ir.tensor(numbers, name=name))
    made.dtype, made.shape = made.const_value.dtype, made.const_value.shape
    model.graph.register_initializer(made)
    return made

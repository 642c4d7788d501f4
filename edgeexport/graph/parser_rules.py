"""What TensorRT's parser refuses of operators that it knows: attributes, further outputs, element types, dimensions.

The tables are what TensorRT-RTX 1.7 answers to the single-operator models of onnx's own tests and to their variants in other
element types (``python -m benchmarks lint``), and what the notes of TensorRT 10's parser say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx

from edgeexport.graph.lint_report import LintFinding
from edgeexport.graph.operator_rules import STANDARD_DOMAINS, node_label
from edgeexport.graph.source import source_of_node

__all__ = ["attribute_findings", "typed_findings"]

_TYPES = onnx.TensorProto
_MAX_DIMENSIONS = 8
_POOLS = ("AveragePool", "LpPool", "MaxPool")
_SPATIAL = frozenset({*_POOLS, "Conv", "ConvTranspose"})
_UINT8_READERS = frozenset({"Cast", "Shape"})


@dataclass(frozen=True)
class _Attribute:
    """An attribute of which TensorRT takes some values; of a list, every entry must be one of them."""

    name: str
    default: object
    taken: tuple[object, ...]
    remedy: str


_DILATIONS = _Attribute("dilations", 1, (1,), "pool without dilation, or take the elements by Slice with steps first")
_ATTRIBUTES: Mapping[str, tuple[_Attribute, ...]] = {
    "Resize": (
        _Attribute(
            "antialias",
            0,
            (0,),
            "resample without antialiasing (torch: antialias=False), or before the export: position embeddings of a fixed "
            "size are a constant",
        ),
        _Attribute("keep_aspect_ratio_policy", "stretch", ("stretch",), "give the sizes of the result"),
        _Attribute(
            "coordinate_transformation_mode",
            "half_pixel",
            ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_half_pixel_for_nn"),
            "use half_pixel, pytorch_half_pixel, align_corners, asymmetric or tf_half_pixel_for_nn",
        ),
    ),
    **dict.fromkeys(_POOLS, (_DILATIONS,)),
    "LpPool": (_DILATIONS, _Attribute("p", 2, (1, 2), "raise to the power, use AveragePool, and take the root")),
    "BatchNormalization": (_Attribute("training_mode", 0, (0,), "export in eval mode (model.eval())"),),
    "LSTM": (_Attribute("input_forget", 0, (0,), "use a cell with a forget gate of its own"),),
}
_ONE_OUTPUT = frozenset({"BatchNormalization", "LayerNormalization", "MaxPool"})

_INTEGERS = (_TYPES.INT32, _TYPES.INT64)
_REFUSED_TYPES: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(("Gemm", "MatMul", "PRelu", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "Resize"), _INTEGERS),
    **dict.fromkeys(("DequantizeLinear", "QuantizeLinear", "Relu"), (_TYPES.INT32,)),
    **dict.fromkeys(("DepthToSpace", "ReduceMax", "ReduceMin", "SpaceToDepth"), (_TYPES.BOOL,)),
    "Range": (_TYPES.FLOAT16, _TYPES.BFLOAT16),
}
_UNKNOWN_TYPES = frozenset(
    {_TYPES.INT16, _TYPES.UINT16, _TYPES.UINT32, _TYPES.UINT64, _TYPES.COMPLEX64, _TYPES.COMPLEX128}
)


def attribute_findings(node: onnx.NodeProto, scope: str = "") -> Iterator[LintFinding]:
    """Attributes and outputs of the node that TensorRT's parser refuses; ``scope`` is the function whose body has it."""
    if node.domain not in STANDARD_DOMAINS:
        return
    given = {item.name: item for item in node.attribute}
    for rule in _ATTRIBUTES.get(node.op_type, ()):
        value = rule.default
        if rule.name in given and not given[rule.name].ref_attr_name:
            value = onnx.helper.get_attribute_value(given[rule.name])
        value = value.decode(errors="replace") if isinstance(value, bytes) else value
        if any(item not in rule.taken for item in (value if isinstance(value, (list, tuple)) else (value,))):
            message = f"{rule.name} = {value}: TensorRT's parser takes {', '.join(map(str, rule.taken))} alone"
            yield _finding(node, "unsupported-attribute", message, rule.remedy, scope)
    if node.op_type in _ONE_OUTPUT and any(node.output[1:]):
        further = ", ".join(f"'{name}'" for name in node.output[1:] if name)
        message = f"gives out {further} as well: TensorRT's parser takes the first output alone"
        yield _finding(node, "unsupported-attribute", message, "drop the further outputs, or compute them apart", scope)


def typed_findings(graph: onnx.GraphProto, types: Mapping[str, onnx.TypeProto]) -> Iterator[LintFinding]:
    """Findings that need types and shapes.

    Args:
        graph: Inlined and folded.
        types: Of every value, as far as they are known; those of constants included.
    """
    boundary = {value.name for value in (*graph.input, *graph.output)}
    strange: list[tuple[onnx.NodeProto, int]] = []
    wide = next((value for value in graph.input if len(value.type.tensor_type.shape.dim) > _MAX_DIMENSIONS), None)
    if wide is not None:
        yield LintFinding("dimensions", "error", wide.name, "input", "", *_too_many(wide.type))
    for node in graph.node:
        if node.domain not in STANDARD_DOMAINS:
            continue
        for rule, message, remedy in _of_node(node, types):
            yield _finding(node, rule, message, remedy)
        for name in (*node.input, *node.output):
            kind = types[name].tensor_type.elem_type if name in types and name not in boundary else 0
            if kind in _UNKNOWN_TYPES:
                strange.append((node, kind))
                break
        for name in node.output:
            if wide is None and name in types and len(types[name].tensor_type.shape.dim) > _MAX_DIMENSIONS:
                wide = types[name]
                yield _finding(node, "dimensions", *_too_many(types[name]))
    if strange:
        node, kind = strange[0]
        message = (
            f"computes with {_name(kind)}, which TensorRT does not have ({len(strange)} of {len(graph.node)} nodes)"
        )
        yield _finding(node, "unsupported-type", message, "compute in float32 or int32")


def _of_node(node: onnx.NodeProto, types: Mapping[str, onnx.TypeProto]) -> Iterator[tuple[str, str, str]]:
    """(rule, message, remedy) for what the types and shapes of one node's values are."""
    kinds = [types[name].tensor_type.elem_type if name in types else 0 for name in node.input]
    op, kind = node.op_type, kinds[0] if kinds else 0
    if _TYPES.UINT8 in kinds and op not in _UINT8_READERS:
        read = f"reads '{node.input[kinds.index(_TYPES.UINT8)]}' as uint8, which TensorRT"
        if op in ("QuantizeLinear", "DequantizeLinear"):
            yield "uint8-operator", f"{read} refuses or takes for int8", "quantise to int8, symmetrically"
        else:
            message = f"{read} takes as the input of a Cast and of nothing else"
            yield "uint8-operator", message, "cast the image to float32 first, then move or index it"
    elif kind in _REFUSED_TYPES.get(op, ()):
        yield (
            "unsupported-type",
            f"of {_name(kind)}, which TensorRT refuses",
            "cast to float32 (Range: int32) before it",
        )
    elif (
        op == "Mod"
        and kind not in (0, *_INTEGERS)
        and not any(item.name == "fmod" and item.i for item in node.attribute)
    ):
        yield (
            "unsupported-type",
            f"of {_name(kind)} with fmod = 0, which TensorRT refuses",
            "use torch.fmod, or x - m * floor(x / m)",
        )
    elif op == "Clip" and kind == _TYPES.INT8 and len(node.input) > 2:  # with a lower bound alone it is taken
        yield "unsupported-type", "of int8, which TensorRT refuses", "cast to int32 or float32 before it"
    first = _dims(types, node.input[0]) if node.input else None
    if first is None:
        return
    if op in _SPATIAL and len(first) > 5:
        yield "dimensions", f"over {len(first) - 2} spatial dimensions, TensorRT takes 3", "fold two of them into one"
    elif op == "Resize" and any(item.name == "mode" and item.s != b"nearest" for item in node.attribute):
        result = _dims(types, node.output[0]) or first
        if first[:-3] != result[:-3]:
            yield "dimensions", "interpolates beyond the last 3 dimensions", "transpose, or resize in two steps"
    elif op == "MatMul" and len(first) == 1 and len(_dims(types, node.input[1]) or ()) > 2:
        yield "dimensions", "of a vector and a stack of matrices, which TensorRT refuses", "unsqueeze the vector first"


def _dims(types: Mapping[str, onnx.TypeProto], name: str) -> list[int] | None:
    """Lengths, 0 for an unknown one; None where the number of dimensions is not known."""
    if name not in types or not types[name].tensor_type.HasField("shape"):
        return None
    return [dim.dim_value for dim in types[name].tensor_type.shape.dim]


def _too_many(value_type: onnx.TypeProto) -> tuple[str, str]:
    count = len(value_type.tensor_type.shape.dim)
    return f"has {count} dimensions, TensorRT takes {_MAX_DIMENSIONS}", "reshape so that fewer are needed"


def _finding(node: onnx.NodeProto, rule: str, message: str, remedy: str, scope: str = "") -> LintFinding:
    return LintFinding(rule, "error", node_label(node, scope), node.op_type, source_of_node(node), message, remedy)


def _name(kind: int) -> str:
    return str(_TYPES.DataType.Name(kind)).lower()

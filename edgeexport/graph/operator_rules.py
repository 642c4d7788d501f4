"""Operators that a static graph must not have, or that TensorRT refuses: tables, and the checks on single nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

import onnx
from onnx import numpy_helper

from edgeexport.graph.lint_report import LintFinding
from edgeexport.graph.source import source_of_node

__all__ = [
    "FORBIDDEN",
    "STANDARD_DOMAINS",
    "TOPK_LIMIT",
    "UNSUPPORTED",
    "constant_rules",
    "node_label",
    "operator_rules",
]

STANDARD_DOMAINS = frozenset({"", "ai.onnx"})
TOPK_LIMIT = 3840
"""TensorRT's limit on the K of TopK."""

_DATA_DEPENDENT = "the size of its result depends on the values of the data"
_CONTROL_FLOW = "control flow decides at run time what is computed"
_SEQUENCE = "sequences and optionals are not tensors"
_STRING = "strings are not tensors that TensorRT knows"
_RANDOM = "its result differs from run to run, so that no output can be verified"

_USE_TOPK = (
    "take a fixed number instead (torch.topk with a constant k, then torch.gather), or keep all and multiply by a mask"
)
_USE_WHERE = "compute every branch and choose with torch.where, or decide in Python before the export"
_USE_STACK = "work on one tensor: torch.stack, torch.cat, torch.split with constant sizes"
_USE_EVAL = "export in eval mode (model.eval()), or make the random values an input"


def _same(names: str, rule: str, message: str, remedy: str) -> dict[str, tuple[str, str, str]]:
    return dict.fromkeys(names.split(), (rule, message, remedy))


FORBIDDEN: Mapping[str, tuple[str, str, str]] = {
    **_same("Unique Compress", "data-dependent-shape", _DATA_DEPENDENT, _USE_TOPK),
    "NonZero": (
        "data-dependent-shape",
        f"{_DATA_DEPENDENT} (boolean-mask indexing x[mask], torch.nonzero, torch.where with one argument)",
        _USE_TOPK,
    ),
    "NonMaxSuppression": (
        "data-dependent-shape",
        f"{_DATA_DEPENDENT} (the boxes that survive)",
        "keep a fixed number of boxes with torch.topk, and suppress after the graph",
    ),
    **_same(
        "Loop Scan", "control-flow", _CONTROL_FLOW, "unroll the loop: iterate over a Python range of constant length"
    ),
    "If": ("control-flow", _CONTROL_FLOW, _USE_WHERE),
    **_same(
        "SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap "
        "SplitToSequence ConcatFromSequence Optional OptionalGetElement OptionalHasElement",
        "sequence",
        _SEQUENCE,
        _USE_STACK,
    ),
    **_same(
        "StringConcat StringNormalizer StringSplit RegexFullMatch TfIdfVectorizer",
        "string",
        _STRING,
        "process text before the graph",
    ),
    **_same(
        "RandomNormal RandomNormalLike RandomUniform RandomUniformLike Multinomial Bernoulli",
        "random",
        _RANDOM,
        _USE_EVAL,
    ),
}
"""Operator -> (rule, message, remedy). The exported graphs of edgeexport never have these, whatever the target."""

_INTEGER_PRODUCTS = frozenset({"ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul", "DynamicQuantizeLinear"})
UNSUPPORTED = _INTEGER_PRODUCTS | {
    "AffineGrid",
    "BitShift",
    "BitwiseAnd",
    "BitwiseNot",
    "BitwiseOr",
    "BitwiseXor",
    "CenterCropPad",
    "Col2Im",
    "DFT",
    "Det",
    "ImageDecoder",
    "MaxRoiPool",
    "MaxUnpool",
    "MelWeightMatrix",
    "NegativeLogLikelihoodLoss",
    "SoftmaxCrossEntropyLoss",
}
"""Other standard operators up to opset 20 that TensorRT-RTX 1.7's parser has no importer for (a test asks it)."""

_DISCOURAGED = {
    "Einsum": ("TensorRT takes a subset of Einsum (no ellipsis, no diagonal)", "write it as transpose and matmul"),
    "GridSample": (
        "TensorRT takes GridSample on 4-D tensors only",
        "for fixed positions use Resize, or Gather and a weighted sum",
    ),
    "RoiAlign": (
        "TensorRT runs RoiAlign as a plugin, and TensorRT-RTX refuses it",
        "take fixed regions by Slice and Resize",
    ),
    "DeformConv": (
        "TensorRT runs DeformConv as a plugin, and TensorRT-RTX refuses it",
        "replace it by a plain convolution",
    ),
}

_SYMMETRIC = frozenset({"QuantizeLinear", "DequantizeLinear"})
_CONSTANT_INPUTS: Mapping[str, tuple[int, ...]] = {
    "Range": (0, 1, 2),
    **dict.fromkeys(["Squeeze", "Unsqueeze", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp"], (1,)),
    **dict.fromkeys(["ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"], (1,)),
}
"""Inputs, by position, that must be constants: their values decide a shape."""


def node_label(node: onnx.NodeProto, scope: str = "") -> str:
    """The node's name, or its first output's; inside a function body after the function's name."""
    name = node.name or next((output for output in node.output if output), "")
    return f"{scope}/{name}" if scope else name


def operator_rules(node: onnx.NodeProto, scope: str, allowed: bool) -> Iterator[LintFinding]:
    """Findings that the node alone gives rise to.

    Args:
        node: From a graph or a function body.
        scope: Name of the function whose body the node is in, or ''.
        allowed: The node's operator is known although its domain is not standard: it has a body, or is on a list.
    """

    def finding(rule: str, severity: str, message: str, remedy: str) -> LintFinding:
        return LintFinding(
            rule, severity, node_label(node, scope), _full_type(node), source_of_node(node), message, remedy
        )

    if node.domain not in STANDARD_DOMAINS:
        if not allowed:
            yield finding("unknown-domain", "error", *_unknown_domain(node))
        return
    if node.op_type in FORBIDDEN:
        rule, message, remedy = FORBIDDEN[node.op_type]
        yield finding(rule, "error", message, remedy)
    elif node.op_type in UNSUPPORTED:
        quantised = node.op_type in _INTEGER_PRODUCTS
        remedy = (
            "quantise with QuantizeLinear/DequantizeLinear pairs" if quantised else "express it with other operators"
        )
        yield finding("unsupported-operator", "error", "TensorRT has no importer for this operator", remedy)
    elif node.op_type in _DISCOURAGED:
        yield finding("discouraged-operator", "warning", *_DISCOURAGED[node.op_type])
    elif node.op_type in ("ScatterElements", "ScatterND"):
        reduction = next((item.s.decode() for item in node.attribute if item.name == "reduction"), "none")
        if reduction != "none":
            yield finding(
                "scatter-reduction",
                "error",
                f"reduction '{reduction}': TensorRT 8 ignores it (wrong results), TensorRT-RTX refuses it",
                "sum by a product with a one-hot matrix (torch.nn.functional.one_hot, then matmul)",
            )


def constant_rules(
    node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto], not_judged: Set[str]
) -> Iterator[LintFinding]:
    """Findings about inputs that must be constants; ``node`` is from the folded graph.

    Args:
        constants: Initializers of the folded graph, by name.
        not_judged: Names of constants whose values were not read, and of values that may be no constants here.
    """

    def finding(rule: str, message: str, remedy: str) -> LintFinding:
        return LintFinding(rule, "error", node_label(node), node.op_type, source_of_node(node), message, remedy)

    if node.domain not in STANDARD_DOMAINS:
        return
    if node.op_type == "TopK":
        values = [item.i for item in node.attribute if item.name == "k"]  # opset 1: an attribute
        if len(node.input) > 1:
            name = node.input[1]
            if name in not_judged:
                return
            if name not in constants:
                yield finding(
                    "topk-constant-k",
                    f"k ('{name}') is computed at run time, expected a constant",
                    "make k a Python integer: the same count for every image, e.g. the mean over a calibration set",
                )
                return
            values = numpy_helper.to_array(constants[name]).ravel().tolist()
        if values and values[0] > TOPK_LIMIT:
            yield finding("topk-limit", f"k = {values[0]}, TensorRT allows at most {TOPK_LIMIT}", "take fewer elements")
    elif node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
        tensor = constants.get(node.input[2])
        if numpy_helper.to_array(tensor).any() if tensor is not None else node.input[2] not in not_judged:
            yield finding("random", f"Dropout in training mode: {_RANDOM}", _USE_EVAL)
    elif node.op_type in _SYMMETRIC and len(node.input) > 2:
        tensor = constants.get(node.input[2])
        if tensor is not None and numpy_helper.to_array(tensor).astype(float).any():
            yield finding(
                "zero-point",
                f"zero point '{node.input[2]}' is not 0, TensorRT's quantisation is symmetric",
                "quantise symmetrically: int8 with zero points of 0",
            )
    for index, name in enumerate(node.input):
        if (
            index in _CONSTANT_INPUTS.get(node.op_type, ())
            and name
            and name not in constants
            and name not in not_judged
        ):
            if node.op_type == "Range":
                yield finding("data-dependent-shape", f"{_DATA_DEPENDENT} ('{name}' is no constant)", _USE_TOPK)
            else:
                yield finding(
                    "constant-input",
                    f"'{name}' is computed at run time, TensorRT's parser wants constant axes",
                    "make the axes Python integers",
                )


def _full_type(node: onnx.NodeProto) -> str:
    return node.op_type if node.domain in STANDARD_DOMAINS else f"{node.domain}::{node.op_type}"


def _unknown_domain(node: onnx.NodeProto) -> tuple[str, str]:
    if node.domain == "edgeexport":
        return (
            "custom op without a function body: it runs only with edgeexport's TensorRT plugin",
            "lint model.onnx, which carries the bodies, or build with --no-plugins",
        )
    return (
        f"operator of domain '{node.domain}' without a function body, expected a standard ONNX operator",
        "save the model before ONNX Runtime's graph optimisation"
        if node.domain.startswith("com.microsoft")
        else "export it in standard operators, or add a function body to the model",
    )

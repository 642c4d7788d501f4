"""Small graphs in ONNX's own text form, and what the lint found in them."""

from __future__ import annotations

import onnx
from onnx import parser

from edgeexport.graph.lint import LintReport

HEADER = '<ir_version: 9, opset_import: ["": 20, "edgeexport": 1, "com.microsoft": 1, "ai.onnx.ml": 3]>'
ONE_INPUT = "(float[4,8] x) => (float[4,8] y)"


def model_of(signature: str, body: str, constants: str = "", header: str = HEADER) -> onnx.ModelProto:
    return parser.parse_model(f"{header} g {signature} {f'<{constants}>' if constants else ''} {{ {body} }}")


def found_in(report: LintReport) -> set[tuple[str, str]]:
    return {(finding.rule, finding.severity) for finding in report.findings}


def only(report: LintReport, rule: str, severity: str = "error"):
    """The single finding, which must be of this rule."""
    assert found_in(report) == {(rule, severity)}, report.findings
    (finding,) = report.findings
    return finding


RULES = {
    "data-dependent-shape": (
        model_of("(float[4,8] x) => (int32[2,N] y)", "n = NonZero(x) y = Cast<to = 6>(n)"),
        model_of(ONE_INPUT, "m = Greater(x, zero) y = Where(m, x, zero)", "float zero = {0}"),
    ),
    "control-flow": (
        model_of(
            "(float[4,8] x, bool c) => (float[4,8] y)",
            "y = If (c) <then_branch = a () => (float[4,8] s) { s = Relu(x) }, "
            "else_branch = b () => (float[4,8] r) { r = Neg(x) }>",
        ),
        model_of("(float[4,8] x, bool c) => (float[4,8] y)", "s = Relu(x) r = Neg(x) y = Where(c, s, r)"),
    ),
    "sequence": (
        model_of("(float[4,8] x) => (float[8,8] y)", "s = SequenceConstruct(x, x) y = ConcatFromSequence<axis = 0>(s)"),
        model_of("(float[4,8] x) => (float[8,8] y)", "y = Concat<axis = 0>(x, x)"),
    ),
    "string": (
        model_of("(float[4,8] x) => (float[4,8] y)", "s = Cast<to = 8>(x) t = StringConcat(s, s) y = Cast<to = 1>(t)"),
        model_of(ONE_INPUT, "y = Add(x, x)"),
    ),
    "random": (
        model_of(ONE_INPUT, "r = RandomNormalLike(x) y = Add(x, r)"),
        model_of(ONE_INPUT, "y = Dropout(x, ratio, training)", "float ratio = {0.5}, bool training = {0}"),
    ),
    "scatter-reduction": (
        model_of(
            "(float[4,8] x, int32[4,3] i, float[4,3] u) => (float[4,8] y)",
            'y = ScatterElements<axis = 1, reduction = "add">(x, i, u)',
        ),
        model_of(
            "(float[4,8] x, int32[4,3] i, float[4,3] u) => (float[4,8] y)",
            'y = ScatterElements<axis = 1, reduction = "none">(x, i, u)',
        ),
    ),
    "topk-constant-k": (
        model_of("(float[4,8] x, int32[1] n) => (float[4,N] y)", "k = Cast<to = 7>(n) y, i = TopK(x, k)"),
        # k comes from the shape: constant once folded
        model_of("(float[4,8] x) => (float[4,4] y)", "k = Shape<start = 0, end = 1>(x) y, i = TopK(x, k)"),
    ),
    "topk-limit": (
        model_of("(float[1,4000] x) => (float[1,3841] y)", "y, i = TopK(x, k)", "int64[1] k = {3841}"),
        model_of("(float[1,4000] x) => (float[1,3840] y)", "y, i = TopK(x, k)", "int64[1] k = {3840}"),
    ),
    "boundary-dtype": (
        model_of("(float[4,8] x) => (int64[4,1] y)", "y = ArgMax<axis = 1>(x)"),
        model_of("(float[4,8] x) => (int32[4,1] y)", "i = ArgMax<axis = 1>(x) y = Cast<to = 6>(i)"),
    ),
    "uint8-operator": (
        model_of("(uint8[4,8] x) => (float[8,4] y)", "t = Transpose(x) y = Cast<to = 1>(t)"),
        model_of("(uint8[4,8] x) => (float[8,4] y)", "c = Cast<to = 1>(x) y = Transpose(c)"),
    ),
    "opset": (
        model_of(ONE_INPUT, "y = Relu(x)", header='<ir_version: 10, opset_import: ["": 21]>'),
        model_of(ONE_INPUT, "y = Relu(x)", header='<ir_version: 10, opset_import: ["": 20]>'),
    ),
    "unsupported-operator": (
        model_of("(float[4,4] x) => (float y)", "y = Det(x)"),
        model_of("(float[4,4] x) => (float[4,4] y)", "y = Trilu(x)"),
    ),
    "unsupported-attribute": (
        model_of("(float[1,1,8,8] x) => (float[1,1,6,6] y)", "y = MaxPool<kernel_shape = [2,2], dilations = [2,2]>(x)"),
        model_of("(float[1,1,8,8] x) => (float[1,1,7,7] y)", "y = MaxPool<kernel_shape = [2,2], dilations = [1,1]>(x)"),
    ),
    "unsupported-type": (
        model_of("(float[4,8] x) => (float[4,8] y)", "y = Mod(x, two)", "float two = {2}"),
        model_of("(float[4,8] x) => (float[4,8] y)", "y = Mod<fmod = 1>(x, two)", "float two = {2}"),
    ),
    "dimensions": (
        model_of(
            "(float[2] x) => (float[1,1,1,1,1,1,1,1,2] y)", "y = Reshape(x, s)", "int64[9] s = {1,1,1,1,1,1,1,1,2}"
        ),
        model_of("(float[2] x) => (float[1,1,1,1,1,1,1,2] y)", "y = Reshape(x, s)", "int64[8] s = {1,1,1,1,1,1,1,2}"),
    ),
    "zero-point": (
        model_of("(int8[4] x) => (float[4] y)", "y = DequantizeLinear(x, s, z)", "float s = {0.1}, int8 z = {3}"),
        model_of("(int8[4] x) => (float[4] y)", "y = DequantizeLinear(x, s, z)", "float s = {0.1}, int8 z = {0}"),
    ),
    "constant-input": (
        model_of("(float[4,8] x, int32[1] n) => (float[4,1] y)", "a = Cast<to = 7>(n) y = ReduceSum(x, a)"),
        model_of("(float[4,8] x) => (float[4,1] y)", "y = ReduceSum(x, a)", "int64[1] a = {1}"),
    ),
    "static-shape": (
        model_of("(float[N,8] x) => (float[N,8] y)", "y = Relu(x)"),
        model_of(ONE_INPUT, "y = Relu(x)"),
    ),
    "invalid-graph": (
        model_of(ONE_INPUT, "y = Relu(undefined)"),
        model_of(ONE_INPUT, "y = Relu(x)"),
    ),
}
"""Rule -> a graph that breaks it and one that keeps it."""

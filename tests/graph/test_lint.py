"""Every rule of the lint: a graph that breaks it and one that keeps it; and TensorRT's own opinion of operators."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import onnx
import pytest
from lint_cases import ONE_INPUT, RULES, model_of, only

from edgeexport.graph.lint import lint_model
from edgeexport.graph.operator_rules import FORBIDDEN, UNSUPPORTED


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_fails_and_passes(rule: str) -> None:
    failing, passing = RULES[rule]
    report = lint_model(failing)
    assert not report.ok
    assert rule in {finding.rule for finding in report.errors}
    assert all(finding.message and finding.remedy for finding in report.findings)
    clean = lint_model(passing)
    assert clean.ok and clean.findings == ()


@pytest.mark.parametrize("op", sorted(FORBIDDEN))
def test_every_forbidden_operator_is_an_error(op: str) -> None:
    """Whether or not the rest of the node makes sense."""
    model = model_of(ONE_INPUT, "y = Relu(x)")
    model.graph.node.append(onnx.helper.make_node(op, ["x"], ["z"], name="bad"))
    findings = [finding for finding in lint_model(model).errors if finding.node == "bad"]
    assert [(finding.rule, finding.op_type) for finding in findings] == [(FORBIDDEN[op][0], op)]


@pytest.mark.parametrize(
    ("signature", "body", "rule"),
    [
        (
            "(float[2,4,8] x, float[2,8,3] z) => (float[2,4,3] y)",
            'y = Einsum<equation = "bij,bjk->bik">(x, z)',
            "Einsum",
        ),
        ("(float[1,2,4,4] x, float[1,3,3,2] z) => (float[1,2,3,3] y)", "y = GridSample(x, z)", "GridSample"),
        (
            "(float[1,2,4,4] x, float[3,4] z, int32[3] i) => (float[3,2,1,1] y)",
            "b = Cast<to = 7>(i) y = RoiAlign(x, z, b)",
            "RoiAlign",
        ),
    ],
)
def test_discouraged_operators_warn(signature: str, body: str, rule: str) -> None:
    report = lint_model(model_of(signature, body))
    assert report.ok
    assert only(report, "discouraged-operator", "warning").op_type == rule


_RESIZED = "(float[1,1,8,8] x) => (float[1,1,4,4] y)"
_SIZES = "int64[4] s = {1,1,4,4}"
_ONES = "float[8] s = {1,1,1,1,1,1,1,1}"
# What TensorRT-RTX's parser refuses, by a word that the finding has to have; benchmarks/lint_agreement.py asks it.
_REFUSED = {
    "antialias": (_RESIZED, 'y = Resize<mode = "cubic", antialias = 1>(x, , , s)', _SIZES),
    "keep_aspect_ratio_policy": (
        _RESIZED,
        'y = Resize<keep_aspect_ratio_policy = "not_larger">(x, , , s)',
        _SIZES,
    ),
    "half_pixel_symmetric": (
        _RESIZED,
        'y = Resize<mode = "linear", coordinate_transformation_mode = "half_pixel_symmetric">(x, , , s)',
        _SIZES,
    ),
    "last 3": (
        "(float[2,2,8,8] x) => (float[4,4,8,8] y)",
        'y = Resize<mode = "linear">(x, , , s)',
        "int64[4] s = {4,4,8,8}",
    ),
    "dilations": (
        "(float[1,1,8,8] x) => (float[1,1,6,6] y)",
        "y = AveragePool<kernel_shape = [2,2], dilations = [2,2]>(x)",
        "",
    ),
    "p = 3": ("(float[1,1,8,8] x) => (float[1,1,7,7] y)", "y = LpPool<kernel_shape = [2,2], p = 3>(x)", ""),
    "'m', 'v'": (
        "(float[4,8] x) => (float[4,8] y, float[4,1] m, float[4,1] v)",
        "y, m, v = LayerNormalization(x, s)",
        _ONES,
    ),
    "training_mode": (
        "(float[1,8,4,4] x) => (float[1,8,4,4] y)",
        "y, m, v = BatchNormalization<training_mode = 1>(x, s, s, s, s)",
        _ONES,
    ),
    "int32": ("(int32[4,8] x, int32[8,2] w) => (int32[4,2] y)", "y = MatMul(x, w)", ""),
    "bool": ("(bool[4,8] x) => (bool[4,1] y)", "y = ReduceMax(x, a)", "int64[1] a = {1}"),
    "uint16": ("(float[4,8] x) => (float[4,8] y)", "a = Cast<to = 4>(x) y = Cast<to = 1>(a)", ""),
    "uint32": ("(float[4,8] x) => (float[4,8] y)", "a = Cast<to = 1>(w) y = Mul(x, a)", "uint32 w = {2}"),  # folds away
    "spatial": ("(float[1,1,4,4,4,4] x) => (float[1,1,3,3,3,3] y)", "y = MaxPool<kernel_shape = [2,2,2,2]>(x)", ""),
    "vector": ("(float[4] x, float[2,4,3] w) => (float[2,3] y)", "y = MatMul(x, w)", ""),
    "uint8": ("(uint8[4,8] x) => (float[4,8] y)", "y = DequantizeLinear(x, s, z)", "float s = {0.1}, uint8 z = {0}"),
}


@pytest.mark.parametrize("word", _REFUSED)
def test_what_the_parser_refuses_is_an_error(word: str) -> None:
    """The same as a warning where the target has no TensorRT."""
    model = model_of(*_REFUSED[word])
    errors = lint_model(model).errors
    assert any(word in finding.message for finding in errors), errors
    assert lint_model(model, target="cpu").ok


@pytest.mark.parametrize("kind", ["double", "int64", "int16", "uint32"])
def test_types_at_the_boundary(kind: str) -> None:
    report = lint_model(model_of(f"({kind}[4] x) => (float[4] y)", "y = Cast<to = 1>(x)"))
    finding = only(report, "boundary-dtype")
    assert (finding.node, finding.op_type) == ("x", "input")
    assert finding.message.startswith(f"is {kind.replace('double', 'float64')}")


@pytest.mark.parametrize("kind", ["float", "float16", "int32", "uint8", "bool"])
def test_types_that_may_cross_the_boundary(kind: str) -> None:
    assert lint_model(model_of(f"({kind}[4] x) => (float[4] y)", "y = Cast<to = 1>(x)")).findings == ()


def test_float64_inside_warns_once() -> None:
    report = lint_model(model_of(ONE_INPUT, "a = Cast<to = 11>(x) b = Sqrt(a) y = Cast<to = 1>(b)"))
    assert "2 of 3 nodes" in only(report, "float64", "warning").message


def test_dropout_in_training_mode() -> None:
    model = model_of(ONE_INPUT, "y = Dropout(x, ratio, training)", "float ratio = {0.5}, bool training = {1}")
    assert "training mode" in only(lint_model(model), "random").message


def test_int64_inside_and_quantisation_are_fine() -> None:
    body = """q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) i = ArgMax<axis = 1>(d)
              y = GatherElements<axis = 1>(d, i)"""
    model = model_of("(float[4,8] x) => (float[4,1] y)", body, "float s = {0.1}, int8 z = {0}")
    assert lint_model(model).findings == ()


def test_unsupported_operators_are_those_of_the_parser() -> None:
    if importlib.util.find_spec("tensorrt_rtx_bindings") is None:
        pytest.skip("the wheel tensorrt-rtx-cu13-bindings is missing")
    code = """
import sys
import tensorrt_rtx_bindings as trt
logger = trt.Logger(trt.Logger.ERROR)
builder = trt.Builder(logger)
network = builder.create_network(0)
parser = trt.OnnxParser(network, logger)
print([op for op in sys.argv[1:] if parser.supports_operator(op)])
"""
    result = subprocess.run(
        [sys.executable, "-c", code, *sorted(UNSUPPORTED), "Relu"], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip().splitlines()[-1] == "['Relu']"

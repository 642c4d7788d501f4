from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper, parser
from torch import Tensor, nn

from edgeexport.errors import LintError, UsageError
from edgeexport.graph.lint import LintReport, lint_model
from edgeexport.graph.operator_rules import FORBIDDEN, UNSUPPORTED

_HEADER = '<ir_version: 9, opset_import: ["": 20, "edgeexport": 1, "com.microsoft": 1, "ai.onnx.ml": 3]>'
_X = "(float[4,8] x) => (float[4,8] y)"


def _model(signature: str, body: str, constants: str = "", header: str = _HEADER) -> onnx.ModelProto:
    return parser.parse_model(f"{header} g {signature} {f'<{constants}>' if constants else ''} {{ {body} }}")


def _found(report: LintReport) -> set[tuple[str, str]]:
    return {(finding.rule, finding.severity) for finding in report.findings}


def _only(report: LintReport, rule: str, severity: str = "error"):
    """The single finding, which must be of this rule."""
    assert _found(report) == {(rule, severity)}, report.findings
    (finding,) = report.findings
    return finding


# -- one failing and one passing graph for each rule ------------------------------------------------------------------

_RULES = {
    "data-dependent-shape": (
        _model("(float[4,8] x) => (int32[2,N] y)", "n = NonZero(x) y = Cast<to = 6>(n)"),
        _model(_X, "m = Greater(x, zero) y = Where(m, x, zero)", "float zero = {0}"),
    ),
    "control-flow": (
        _model(
            "(float[4,8] x, bool c) => (float[4,8] y)",
            "y = If (c) <then_branch = a () => (float[4,8] s) { s = Relu(x) }, "
            "else_branch = b () => (float[4,8] r) { r = Neg(x) }>",
        ),
        _model("(float[4,8] x, bool c) => (float[4,8] y)", "s = Relu(x) r = Neg(x) y = Where(c, s, r)"),
    ),
    "sequence": (
        _model("(float[4,8] x) => (float[8,8] y)", "s = SequenceConstruct(x, x) y = ConcatFromSequence<axis = 0>(s)"),
        _model("(float[4,8] x) => (float[8,8] y)", "y = Concat<axis = 0>(x, x)"),
    ),
    "string": (
        _model("(float[4,8] x) => (float[4,8] y)", "s = Cast<to = 8>(x) t = StringConcat(s, s) y = Cast<to = 1>(t)"),
        _model(_X, "y = Add(x, x)"),
    ),
    "random": (
        _model(_X, "r = RandomNormalLike(x) y = Add(x, r)"),
        _model(_X, "y = Dropout(x, ratio, training)", "float ratio = {0.5}, bool training = {0}"),
    ),
    "scatter-reduction": (
        _model(
            "(float[4,8] x, int32[4,3] i, float[4,3] u) => (float[4,8] y)",
            'y = ScatterElements<axis = 1, reduction = "add">(x, i, u)',
        ),
        _model(
            "(float[4,8] x, int32[4,3] i, float[4,3] u) => (float[4,8] y)",
            'y = ScatterElements<axis = 1, reduction = "none">(x, i, u)',
        ),
    ),
    "topk-constant-k": (
        _model("(float[4,8] x, int32[1] n) => (float[4,N] y)", "k = Cast<to = 7>(n) y, i = TopK(x, k)"),
        # k comes from the shape: constant once folded
        _model("(float[4,8] x) => (float[4,4] y)", "k = Shape<start = 0, end = 1>(x) y, i = TopK(x, k)"),
    ),
    "topk-limit": (
        _model("(float[1,4000] x) => (float[1,3841] y)", "y, i = TopK(x, k)", "int64[1] k = {3841}"),
        _model("(float[1,4000] x) => (float[1,3840] y)", "y, i = TopK(x, k)", "int64[1] k = {3840}"),
    ),
    "boundary-dtype": (
        _model("(float[4,8] x) => (int64[4,1] y)", "y = ArgMax<axis = 1>(x)"),
        _model("(float[4,8] x) => (int32[4,1] y)", "i = ArgMax<axis = 1>(x) y = Cast<to = 6>(i)"),
    ),
    "uint8-operator": (
        _model("(uint8[4,8] x) => (float[8,4] y)", "t = Transpose(x) y = Cast<to = 1>(t)"),
        _model("(uint8[4,8] x) => (float[8,4] y)", "c = Cast<to = 1>(x) y = Transpose(c)"),
    ),
    "opset": (
        _model(_X, "y = Relu(x)", header='<ir_version: 10, opset_import: ["": 21]>'),
        _model(_X, "y = Relu(x)", header='<ir_version: 10, opset_import: ["": 20]>'),
    ),
    "unsupported-operator": (
        _model("(float[4,4] x) => (float y)", "y = Det(x)"),
        _model("(float[4,4] x) => (float[4,4] y)", "y = Trilu(x)"),
    ),
    "unsupported-attribute": (
        _model("(float[1,1,8,8] x) => (float[1,1,6,6] y)", "y = MaxPool<kernel_shape = [2,2], dilations = [2,2]>(x)"),
        _model("(float[1,1,8,8] x) => (float[1,1,7,7] y)", "y = MaxPool<kernel_shape = [2,2], dilations = [1,1]>(x)"),
    ),
    "unsupported-type": (
        _model("(float[4,8] x) => (float[4,8] y)", "y = Mod(x, two)", "float two = {2}"),
        _model("(float[4,8] x) => (float[4,8] y)", "y = Mod<fmod = 1>(x, two)", "float two = {2}"),
    ),
    "dimensions": (
        _model("(float[2] x) => (float[1,1,1,1,1,1,1,1,2] y)", "y = Reshape(x, s)", "int64[9] s = {1,1,1,1,1,1,1,1,2}"),
        _model("(float[2] x) => (float[1,1,1,1,1,1,1,2] y)", "y = Reshape(x, s)", "int64[8] s = {1,1,1,1,1,1,1,2}"),
    ),
    "zero-point": (
        _model("(int8[4] x) => (float[4] y)", "y = DequantizeLinear(x, s, z)", "float s = {0.1}, int8 z = {3}"),
        _model("(int8[4] x) => (float[4] y)", "y = DequantizeLinear(x, s, z)", "float s = {0.1}, int8 z = {0}"),
    ),
    "constant-input": (
        _model("(float[4,8] x, int32[1] n) => (float[4,1] y)", "a = Cast<to = 7>(n) y = ReduceSum(x, a)"),
        _model("(float[4,8] x) => (float[4,1] y)", "y = ReduceSum(x, a)", "int64[1] a = {1}"),
    ),
    "static-shape": (
        _model("(float[N,8] x) => (float[N,8] y)", "y = Relu(x)"),
        _model(_X, "y = Relu(x)"),
    ),
    "invalid-graph": (
        _model(_X, "y = Relu(undefined)"),
        _model(_X, "y = Relu(x)"),
    ),
}


@pytest.mark.parametrize("rule", _RULES)
def test_each_rule_fails_and_passes(rule: str) -> None:
    failing, passing = _RULES[rule]
    report = lint_model(failing)
    assert not report.ok
    assert rule in {finding.rule for finding in report.errors}
    assert all(finding.message and finding.remedy for finding in report.findings)
    clean = lint_model(passing)
    assert clean.ok and clean.findings == ()


@pytest.mark.parametrize("op", sorted(FORBIDDEN))
def test_every_forbidden_operator_is_an_error(op: str) -> None:
    """Whether or not the rest of the node makes sense."""
    model = _model(_X, "y = Relu(x)")
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
    report = lint_model(_model(signature, body))
    assert report.ok
    assert _only(report, "discouraged-operator", "warning").op_type == rule


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
    model = _model(*_REFUSED[word])
    errors = lint_model(model).errors
    assert any(word in finding.message for finding in errors), errors
    assert lint_model(model, target="cpu").ok


@pytest.mark.parametrize("kind", ["double", "int64", "int16", "uint32"])
def test_types_at_the_boundary(kind: str) -> None:
    report = lint_model(_model(f"({kind}[4] x) => (float[4] y)", "y = Cast<to = 1>(x)"))
    finding = _only(report, "boundary-dtype")
    assert (finding.node, finding.op_type) == ("x", "input")
    assert finding.message.startswith(f"is {kind.replace('double', 'float64')}")


@pytest.mark.parametrize("kind", ["float", "float16", "int32", "uint8", "bool"])
def test_types_that_may_cross_the_boundary(kind: str) -> None:
    assert lint_model(_model(f"({kind}[4] x) => (float[4] y)", "y = Cast<to = 1>(x)")).findings == ()


def test_float64_inside_warns_once() -> None:
    report = lint_model(_model(_X, "a = Cast<to = 11>(x) b = Sqrt(a) y = Cast<to = 1>(b)"))
    assert "2 of 3 nodes" in _only(report, "float64", "warning").message


def test_dropout_in_training_mode() -> None:
    model = _model(_X, "y = Dropout(x, ratio, training)", "float ratio = {0.5}, bool training = {1}")
    assert "training mode" in _only(lint_model(model), "random").message


def test_int64_inside_and_quantisation_are_fine() -> None:
    body = """q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) i = ArgMax<axis = 1>(d)
              y = GatherElements<axis = 1>(d, i)"""
    model = _model("(float[4,8] x) => (float[4,1] y)", body, "float s = {0.1}, int8 z = {0}")
    assert lint_model(model).findings == ()


# -- domains ----------------------------------------------------------------------------------------------------------


def test_custom_op_needs_a_body_or_a_permission() -> None:
    model = _model("(float[4,8] x) => (float[4,8] y)", "a = edgeexport.Keep(x) y = Relu(a)")
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, [4, 8]))
    finding = _only(lint_model(model), "unknown-domain")
    assert (finding.node, finding.op_type) == ("a", "edgeexport::Keep")
    assert "function body" in finding.message
    allowed = lint_model(model, allowed_ops=frozenset({"edgeexport::Keep"}))
    assert allowed.findings == ()
    assert allowed.op_counts == {"Relu": 1, "edgeexport::Keep": 1}
    model.functions.append(
        parser.parse_function('<domain: "edgeexport", opset_import: ["": 20]> Keep (a) => (b) { b = Identity(a) }')
    )
    assert lint_model(model).findings == ()


def test_allowed_op_without_a_recorded_shape() -> None:
    model = _model("(float[4,8] x) => (float[4,8] y)", "a = edgeexport.Keep(x) y = Relu(a)")
    finding = _only(lint_model(model, allowed_ops=frozenset({"edgeexport::Keep"})), "static-shape")
    assert finding.node == "a"
    assert "value_info" in finding.remedy


@pytest.mark.parametrize(("domain", "op"), [("com.microsoft", "FusedMatMul"), ("ai.onnx.ml", "Binarizer")])
def test_other_domains_are_errors(domain: str, op: str) -> None:
    model = _model(_X, "y = Relu(x)")
    model.graph.node.append(onnx.helper.make_node(op, ["x"], ["z"], domain=domain))
    finding = lint_model(model).errors[0]
    assert (finding.rule, finding.op_type) == ("unknown-domain", f"{domain}::{op}")


def test_bodies_are_searched_where_they_are_called() -> None:
    functions = [
        parser.parse_function(
            '<domain: "edgeexport", opset_import: ["": 20, "edgeexport": 1]> Outer (a) => (b) '
            "{ b = edgeexport.Inner(a) }"
        ),
        parser.parse_function(
            '<domain: "edgeexport", opset_import: ["": 20]> Inner (a) => (b) '
            "{ n = Unique<axis = 0>(a) s = Shape(a) b = Expand(n, s) }"
        ),
    ]
    called = _model(_X, "y = edgeexport.Outer(x)")
    called.functions.extend(functions)
    finding = next(finding for finding in lint_model(called).errors if finding.rule == "data-dependent-shape")
    assert (finding.node, finding.op_type) == ("Inner/n", "Unique")
    idle = _model(_X, "y = Relu(x)")
    idle.functions.extend(functions)
    assert lint_model(idle).findings == ()


def test_shapes_inside_bodies_must_be_constant() -> None:
    model = _model("(float[4,8] x, int64[2] s) => (float[4,8] y)", "y = edgeexport.Resh(x, s)")
    model.functions.append(
        parser.parse_function(
            '<domain: "edgeexport", opset_import: ["": 20]> Resh (a, s) => (b) '
            "{ inner = Reshape(a, s) t = Shape(a) b = Reshape(inner, t) }"
        )
    )
    findings = [finding for finding in lint_model(model).errors if finding.rule == "static-shape"]
    assert [finding.node for finding in findings] == ["Resh/inner"]


# -- dynamic shapes ---------------------------------------------------------------------------------------------------


def test_only_the_origin_of_a_dynamic_shape_is_reported() -> None:
    report = lint_model(_model("(float[N,8] x, float[4,8] w) => (float[N,8] y)", "a = Relu(x) b = Neg(w) y = Exp(a)"))
    finding = _only(report, "static-shape")
    assert (finding.node, finding.op_type) == ("x", "input")
    assert (
        finding.message
        == "has shape [N, 8]: dimension 0 ('N') must be constant; 2 values computed from it inherit that"
    )
    assert finding.remedy.endswith(": edgeexport lint model.onnx --fix model_static.onnx --input-shape x=1,8")


def test_sizes_that_follow_from_a_dynamic_input_are_counted_with_it() -> None:
    """As exporters write a class token: the batch travels as a number from Shape to Expand; k of a TopK likewise."""
    body = """n = Shape<start = 0, end = 1>(x) s = Concat<axis = 0>(n, rest) t = Expand(token, s) y = Concat<axis = 1>(t, x)
              k = Mul(n, two) z, i = TopK<axis = 1>(x, k)"""
    constants = "int64[2] rest = {1, 8}, float[1,1,8] token = {0,0,0,0,0,0,0,0}, int64[1] two = {2}"
    signature = "(float[batch,4,8] x, float[batch,height,8] w) => (float[batch,5,8] y, float[batch,K,8] z)"
    report = lint_model(_model(signature, body, constants))
    assert [(item.rule, item.node) for item in report.findings] == [("static-shape", "x"), ("static-shape", "w")]
    assert "; 4 values computed from it inherit that" in report.findings[0].message
    assert "with numbers for HEIGHT: " in report.findings[0].remedy
    assert report.findings[0].remedy.endswith("--input-shape x=1,4,8 --input-shape w=1,HEIGHT,8")


def test_a_cause_behind_a_dynamic_input_is_told_as_well() -> None:
    """k that depends on values is no consequence of the batch."""
    body = "m = ReduceSum<keepdims = 0>(x) r = Reshape(m, one) k = Cast<to = 7>(r) y, i = TopK(x, k)"
    report = lint_model(_model("(float[batch,8] x) => (float[batch,K] y)", body, "int64[1] one = {1}"))
    assert {finding.rule for finding in report.errors} == {"static-shape", "topk-constant-k"}


@pytest.mark.parametrize("dim", ["0", ""])
def test_odd_dimensions(dim: str) -> None:
    model = _model("(float[3,8] x) => (float y)", "y = ReduceSum<keepdims = 0>(x)")
    first = model.graph.input[0].type.tensor_type.shape.dim[0]
    first.ClearField("dim_value")
    if dim:
        first.dim_value = int(dim)
    assert f"[{dim or '?'}, 8]" in _only(lint_model(model), "static-shape").message


def test_missing_rank_and_type() -> None:
    no_rank = _model(_X, "y = Relu(x)")
    no_rank.graph.input[0].type.tensor_type.ClearField("shape")
    assert any("number of dimensions" in finding.message for finding in lint_model(no_rank).errors)
    no_type = _model(_X, "y = Relu(x)")
    no_type.graph.input[0].type.tensor_type.elem_type = 0
    assert not lint_model(no_type).ok


def test_shapes_through_data_propagation_count_as_constant() -> None:
    """Shape, Gather, Concat, Reshape as older exporters write them."""
    body = """s = Shape(x) a = Gather(s, one) b = Unsqueeze(a, zero) c = Concat<axis = 0>(minus, b) r = Reshape(x, c)
              y = Relu(r)"""
    constants = "int64 one = {1}, int64[1] zero = {0}, int64[1] minus = {-1}"
    report = lint_model(_model("(float[2,3,4] x) => (float[8,3] y)", body, constants))
    assert report.findings == ()
    assert (report.node_count, report.op_counts) == (2, {"Relu": 1, "Reshape": 1})


# -- the report -------------------------------------------------------------------------------------------------------


def test_cpu_target_turns_what_only_tensorrt_refuses_into_warnings() -> None:
    body = 'a = ScatterElements<axis = 1, reduction = "add">(x, i, u) y = ArgMax<axis = 1>(a)'
    model = _model("(float[4,8] x, int32[4,3] i, float[4,3] u) => (int64[4,1] y)", body)
    assert {finding.severity for finding in lint_model(model, target="orin").findings} == {"error"}
    report = lint_model(model, target="cpu")
    assert report.ok and report.target == "cpu"
    assert _found(report) == {("scatter-reduction", "warning"), ("boundary-dtype", "warning")}
    assert not lint_model(_RULES["static-shape"][0], target="cpu").ok


def test_raise_for_findings_names_the_first_and_counts_the_rest() -> None:
    body = " ".join(f"n{i} = NonZero(x)" for i in range(5)) + " y = Relu(x)"
    report = lint_model(_model(_X, body))
    with pytest.raises(LintError) as caught:
        report.raise_for_findings()
    assert caught.value.exit_code == 3
    text = str(caught.value)
    assert text.startswith("g | 5 lint errors: [data-dependent-shape] NonZero 'n0'")
    assert "2 more" in text and "torch.topk" in text and "'n3'" not in text
    lint_model(_model(_X, "y = Relu(x)")).raise_for_findings()


def test_as_dict_is_json() -> None:
    report = lint_model(_RULES["opset"][0], target="orin")
    read = json.loads(json.dumps(report.as_dict()))
    assert (read["ok"], read["opset"], read["node_count"], read["op_counts"]) == (False, 21, 1, {"Relu": 1})
    assert (read["target"], read["value_count"], read["findings"][0]["rule"]) == ("orin", 2, "opset")


def test_the_model_is_unchanged() -> None:
    for failing, passing in _RULES.values():
        for model in (failing, passing):
            before = model.SerializeToString()
            lint_model(model)
            assert model.SerializeToString() == before


# -- files ------------------------------------------------------------------------------------------------------------


def test_weights_in_an_external_file_stay_unread(tmp_path: Path) -> None:
    model = _model("(float[1,64] x) => (float[1,5] y)", "m = MatMul(x, w) y, i = TopK(m, k)", "int64[1] k = {5}")
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((64, 4096), np.float32), "w"))
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)  # k lives there too
    report = lint_model(path)
    assert report.findings == () and report.model == str(path)
    assert (report.node_count, report.value_count) == (2, 4)


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """Protobuf reads them, and says so at the first look at one."""
    path = tmp_path / "model.onnx"
    model = _model("(float[8] x) => (float[8] y)", "first = Relu(x) y = Relu(first)")
    model.producer_name = "somebody"
    content = model.SerializeToString()
    path.write_bytes(content.replace(b"first", b"f\xe9rst"))
    assert any(finding.rule == "invalid-graph" and "utf-8" in finding.message for finding in lint_model(path).errors)
    path.write_bytes(content.replace(b"somebody", b"s\xefmebody"))
    with pytest.raises(UsageError, match=r"model\.onnx \| is damaged: .*utf-8"):
        lint_model(path)


def _with_external_weights(folder: Path, location: str, **more: str) -> Path:
    model = _model("(float[1,64] x) => (float[1,64] y)", "y = Mul(x, w)")
    weights = model.graph.initializer.add(name="w", data_type=1, dims=[64], data_location=1)
    for key, value in {"location": location, **more}.items():
        weights.external_data.add(key=key, value=value)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


@pytest.mark.parametrize(
    ("location", "more", "words"),
    [
        ("absent.bin", {}, "external data file 'absent.bin' is missing"),
        ("../w.bin", {}, "expected a file beside the model"),
        ("w.bin", {"offset": "nothing"}, "weight 'w' points nowhere"),
        ("w.bin", {"length": "9999"}, "has 8 bytes, 'w' ends at 9999"),
        ("w.bin", {"offset": "9"}, "has 8 bytes, 'w' ends at 9"),
    ],
)
def test_external_weights_that_cannot_be_had(tmp_path: Path, location: str, more: dict[str, str], words: str) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(8))
    with pytest.raises(UsageError, match=words):
        lint_model(_with_external_weights(tmp_path, location, **more))


def test_external_values_of_attributes_are_looked_for_too(tmp_path: Path) -> None:
    model = _model(_X, "c = Constant<value = float {1.0}>() y = Mul(x, c)")
    value = model.graph.node[0].attribute[0].t
    value.ClearField("float_data")
    value.data_location = 1
    value.external_data.add(key="location", value="absent.bin")
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UsageError, match=r"model\.onnx \| external data file 'absent.bin' is missing"):
        lint_model(tmp_path / "model.onnx")


@pytest.mark.parametrize(("content", "words"), [(b"", "is empty"), (b"hello, world", "is not an ONNX model")])
def test_files_that_are_no_models_are_usage_errors(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=words):
        lint_model(path)


def test_needs_no_torch(tmp_path: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; import edgeexport.graph.lint; print('fine')"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (result.stdout.strip(), result.returncode) == ("fine", 0), result.stderr


# -- what torch really exports ----------------------------------------------------------------------------------------


class _MaskedTokens(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        keep = x.mean(-1) > 0
        return x[keep] * 2


class _CountedTokens(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        score = x.mean(-1)
        count = int((score > 0).sum().item())
        torch._check(count >= 1)
        torch._check(count <= score.shape[1])
        return torch.topk(score, count, dim=1).indices.int()


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(32)
        self.qkv = nn.Linear(32, 96)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(batch, tokens, 3, 4, width // 4).permute(2, 0, 3, 1, 4)
        out = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width)
        best = torch.topk((x + out).mean(-1), 5, dim=1).indices
        return torch.gather(out, 1, best[..., None].expand(-1, -1, width))


def _exported(module: nn.Module, batch: int = 1, **options) -> onnx.ModelProto:
    example = (torch.zeros(batch, 16, 32),)
    with torch.no_grad():
        program = torch.onnx.export(module.eval(), example, dynamo=True, opset_version=20, verbose=False, **options)
    return program.model_proto


def _line_of(text: str) -> str:
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    (number,) = (index for index, line in enumerate(lines, 1) if line.strip() == text)
    return f"test_lint.py:{number} `{text}`"


def test_boolean_mask_of_torch() -> None:
    finding = _only(lint_model(_exported(_MaskedTokens())), "data-dependent-shape")
    assert finding.op_type == "NonZero"
    assert finding.source.endswith(_line_of("return x[keep] * 2"))
    assert "boolean-mask" in finding.message and "torch.topk" in finding.remedy


def test_data_dependent_k_of_torch() -> None:
    finding = _only(lint_model(_exported(_CountedTokens())), "topk-constant-k")
    assert finding.op_type == "TopK"
    assert finding.source.endswith(_line_of("return torch.topk(score, count, dim=1).indices.int()"))
    assert "Python integer" in finding.remedy


def test_dynamic_batch_of_torch() -> None:
    model = _exported(_Block(), batch=2, dynamic_shapes=({0: torch.export.Dim("batch")},))
    finding = _only(lint_model(model), "static-shape")
    assert (finding.node, finding.op_type) == ("x", "input")
    assert "dimension 0 ('batch') must be constant" in finding.message
    assert "--input-shape x=1,16,32" in finding.remedy


def test_static_attention_of_torch() -> None:
    report = lint_model(_exported(_Block()))
    assert report.findings == ()
    assert report.op_counts["TopK"] == 1 and report.value_count > report.node_count > 10


# -- TensorRT's own opinion -------------------------------------------------------------------------------------------


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

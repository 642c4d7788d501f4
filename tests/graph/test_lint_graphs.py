"""What the lint makes of whole graphs: custom ops and bodies, dynamic shapes, and how findings are told."""

from __future__ import annotations

import json

import onnx
import pytest
from lint_cases import ONE_INPUT, RULES, found_in, model_of, only
from onnx import parser

from edgeexport.errors import LintError
from edgeexport.graph.lint import lint_model


def test_custom_op_needs_a_body_or_a_permission() -> None:
    model = model_of("(float[4,8] x) => (float[4,8] y)", "a = edgeexport.Keep(x) y = Relu(a)")
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, [4, 8]))
    finding = only(lint_model(model), "unknown-domain")
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
    model = model_of("(float[4,8] x) => (float[4,8] y)", "a = edgeexport.Keep(x) y = Relu(a)")
    finding = only(lint_model(model, allowed_ops=frozenset({"edgeexport::Keep"})), "static-shape")
    assert finding.node == "a"
    assert "value_info" in finding.remedy


@pytest.mark.parametrize(("domain", "op"), [("com.microsoft", "FusedMatMul"), ("ai.onnx.ml", "Binarizer")])
def test_other_domains_are_errors(domain: str, op: str) -> None:
    model = model_of(ONE_INPUT, "y = Relu(x)")
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
    called = model_of(ONE_INPUT, "y = edgeexport.Outer(x)")
    called.functions.extend(functions)
    finding = next(finding for finding in lint_model(called).errors if finding.rule == "data-dependent-shape")
    assert (finding.node, finding.op_type) == ("Inner/n", "Unique")
    idle = model_of(ONE_INPUT, "y = Relu(x)")
    idle.functions.extend(functions)
    assert lint_model(idle).findings == ()


def test_shapes_inside_bodies_must_be_constant() -> None:
    model = model_of("(float[4,8] x, int64[2] s) => (float[4,8] y)", "y = edgeexport.Resh(x, s)")
    model.functions.append(
        parser.parse_function(
            '<domain: "edgeexport", opset_import: ["": 20]> Resh (a, s) => (b) '
            "{ inner = Reshape(a, s) t = Shape(a) b = Reshape(inner, t) }"
        )
    )
    findings = [finding for finding in lint_model(model).errors if finding.rule == "static-shape"]
    assert [finding.node for finding in findings] == ["Resh/inner"]


def test_only_the_origin_of_a_dynamic_shape_is_reported() -> None:
    report = lint_model(model_of("(float[N,8] x, float[4,8] w) => (float[N,8] y)", "a = Relu(x) b = Neg(w) y = Exp(a)"))
    finding = only(report, "static-shape")
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
    report = lint_model(model_of(signature, body, constants))
    assert [(item.rule, item.node) for item in report.findings] == [("static-shape", "x"), ("static-shape", "w")]
    assert "; 4 values computed from it inherit that" in report.findings[0].message
    assert "with numbers for HEIGHT: " in report.findings[0].remedy
    assert report.findings[0].remedy.endswith("--input-shape x=1,4,8 --input-shape w=1,HEIGHT,8")


def test_a_cause_behind_a_dynamic_input_is_told_as_well() -> None:
    """k that depends on values is no consequence of the batch."""
    body = "m = ReduceSum<keepdims = 0>(x) r = Reshape(m, one) k = Cast<to = 7>(r) y, i = TopK(x, k)"
    report = lint_model(model_of("(float[batch,8] x) => (float[batch,K] y)", body, "int64[1] one = {1}"))
    assert {finding.rule for finding in report.errors} == {"static-shape", "topk-constant-k"}


@pytest.mark.parametrize("dim", ["0", ""])
def test_odd_dimensions(dim: str) -> None:
    model = model_of("(float[3,8] x) => (float y)", "y = ReduceSum<keepdims = 0>(x)")
    first = model.graph.input[0].type.tensor_type.shape.dim[0]
    first.ClearField("dim_value")
    if dim:
        first.dim_value = int(dim)
    assert f"[{dim or '?'}, 8]" in only(lint_model(model), "static-shape").message


def test_missing_rank_and_type() -> None:
    no_rank = model_of(ONE_INPUT, "y = Relu(x)")
    no_rank.graph.input[0].type.tensor_type.ClearField("shape")
    assert any("number of dimensions" in finding.message for finding in lint_model(no_rank).errors)
    no_type = model_of(ONE_INPUT, "y = Relu(x)")
    no_type.graph.input[0].type.tensor_type.elem_type = 0
    assert not lint_model(no_type).ok


def test_shapes_through_data_propagation_count_as_constant() -> None:
    """Shape, Gather, Concat, Reshape as older exporters write them."""
    body = """s = Shape(x) a = Gather(s, one) b = Unsqueeze(a, zero) c = Concat<axis = 0>(minus, b) r = Reshape(x, c)
              y = Relu(r)"""
    constants = "int64 one = {1}, int64[1] zero = {0}, int64[1] minus = {-1}"
    report = lint_model(model_of("(float[2,3,4] x) => (float[8,3] y)", body, constants))
    assert report.findings == ()
    assert (report.node_count, report.op_counts) == (2, {"Relu": 1, "Reshape": 1})


def test_cpu_target_turns_what_only_tensorrt_refuses_into_warnings() -> None:
    body = 'a = ScatterElements<axis = 1, reduction = "add">(x, i, u) y = ArgMax<axis = 1>(a)'
    model = model_of("(float[4,8] x, int32[4,3] i, float[4,3] u) => (int64[4,1] y)", body)
    assert {finding.severity for finding in lint_model(model, target="orin").findings} == {"error"}
    report = lint_model(model, target="cpu")
    assert report.ok and report.target == "cpu"
    assert found_in(report) == {("scatter-reduction", "warning"), ("boundary-dtype", "warning")}
    assert not lint_model(RULES["static-shape"][0], target="cpu").ok


def test_raise_for_findings_names_the_first_and_counts_the_rest() -> None:
    body = " ".join(f"n{i} = NonZero(x)" for i in range(5)) + " y = Relu(x)"
    report = lint_model(model_of(ONE_INPUT, body))
    with pytest.raises(LintError) as caught:
        report.raise_for_findings()
    assert caught.value.exit_code == 3
    text = str(caught.value)
    assert text.startswith("g | 5 lint errors: [data-dependent-shape] NonZero 'n0'")
    assert "2 more" in text and "torch.topk" in text and "'n3'" not in text
    lint_model(model_of(ONE_INPUT, "y = Relu(x)")).raise_for_findings()


def test_as_dict_is_json() -> None:
    report = lint_model(RULES["opset"][0], target="orin")
    read = json.loads(json.dumps(report.as_dict()))
    assert (read["ok"], read["opset"], read["node_count"], read["op_counts"]) == (False, 21, 1, {"Relu": 1})
    assert (read["target"], read["value_count"], read["findings"][0]["rule"]) == ("orin", 2, "opset")


def test_the_model_is_unchanged() -> None:
    for failing, passing in RULES.values():
        for model in (failing, passing):
            before = model.SerializeToString()
            lint_model(model)
            assert model.SerializeToString() == before

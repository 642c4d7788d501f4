"""Steps that one plugin takes whole: found, joined without changing a number, and left alone where somebody looks inside."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import parser

from edgeexport.graph.plugin_graph import plugin_model
from edgeexport.graph.plugin_steps import join_steps, plugin_steps
from edgeexport.ops import (
    DOMAIN,
    token_match,
    token_match_merge,
    token_merge,
    token_partition,
    token_protect,
    token_protect_select,
    token_unmerge,
)

_HEAD = '<ir_version: 10, opset_import: ["": 20, "edgeexport": 1]>\n'
_LABELS = {
    "ArgMax": "best = ArgMax <axis = 1, keepdims = 0> (scores)",
    "least": """largest = ReduceMax <keepdims = 1> (scores, class_axis)
        is_largest = Equal (scores, largest)
        chosen = Where (is_largest, numbers, none)
        least = ReduceMin <keepdims = 0> (chosen, class_axis)
        best = Cast <to = 7> (least)""",
}
_OPS = (token_match, token_merge, token_partition, token_protect, token_unmerge)


def _stage(
    label: str = "ArgMax", tokens: int = 12, *, factor: float = 2.0, outputs: str = "", further: str = ""
) -> str:
    """One stage of DToP as it is exported, its rows made behind its choice; then a second one on what stays."""
    kept = tokens - 5
    return f"""{_HEAD}
    g (float[2,4,{tokens}] scores, float[2,{tokens},8] x, float[2,4,{tokens}] masks)
      => (float[2,{kept},8] x_kept, float[2,5,4] rows_left, int32[2,5,1] alive_left, int32[2,{kept}] alive{outputs}) {{
        class_axis = Constant <value_ints = [1]> ()
        numbers = Constant <value = float[1,4,1] {{0, 1, 2, 3}}> ()
        none = Constant <value_float = 4.0> ()
        two = Constant <value_float = {factor}> ()
        zero = Constant <value_int = 0> ()
        every = Constant <value = int32[2,{tokens},1] {{{", ".join(str(i) for i in range(2 * tokens))}}}> ()
        confidence = ReduceMax <keepdims = 0> (scores, class_axis)
        {_LABELS[label]}
        label = Cast <to = 6> (best)
        protected = edgeexport.TokenProtect <num_classes = 4, per_class = 2> (confidence, label)
        marked = Cast <to = 1> (protected)
        lowered = Mul (marked, two)
        priority = Sub (confidence, lowered)
        kept, left = edgeexport.TokenPartition <k = 5> (priority)
        alive_left = edgeexport.TokenUnmerge (every, left)
        rows = Transpose <perm = [0, 2, 1]> (masks)
        rows_left = edgeexport.TokenUnmerge (rows, left)
        alive_kept = edgeexport.TokenUnmerge (every, kept)
        alive = Gather <axis = 2> (alive_kept, zero)
        x_kept = edgeexport.TokenUnmerge (x, kept)
        {further}
    }}"""


def _model(text: str) -> onnx.ModelProto:
    """With bodies, and the shapes of values."""
    model = parser.parse_model(text)
    model.functions.extend(op.onnx_function() for op in _OPS)
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def _inputs(model: onnx.ModelProto, levels: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(levels)
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in model.graph.input}
    return {
        name: (generator.integers(levels, size=shape) / levels).astype(np.float32) for name, shape in shapes.items()
    }


def _run(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def _custom(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node if node.domain == DOMAIN]


def _with_bodies(model: onnx.ModelProto, classes: int = 4, *, heads: bool = False) -> onnx.ModelProto:
    """What the plugins will compute is stood in for by the bodies, without the attributes that TensorRT alone reads."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for node in result.graph.node:
        kept = [item for item in node.attribute if not item.name.startswith("plugin_")]
        del node.attribute[:]
        node.attribute.extend(kept)
    del result.functions[:]
    bodies = [op.onnx_function() for op in _OPS]
    bodies += [token_protect_select.onnx_function(classes), token_match_merge.onnx_function([1, 3, 5, 7], heads=heads)]
    result.functions.extend(bodies)
    return result


@pytest.mark.parametrize("label", _LABELS)
@pytest.mark.parametrize("levels", [1, 3, 10**6])
def test_a_stage_of_dtop_is_one_node_with_the_same_results(label: str, levels: int) -> None:
    model = _model(_stage(label))
    found = plugin_model(model)
    assert _custom(found) == ["TokenProtectSelect"]
    (node,) = (node for node in found.graph.node if node.domain == DOMAIN)
    assert list(node.output) == ["x_kept", "rows_left", "alive_kept", "alive_left"]
    inputs = _inputs(model, levels)
    for ours, theirs in zip(_run(_with_bodies(found), inputs), _run(model, inputs), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "text",
    [
        _stage(factor=3.0),
        _stage(tokens=token_protect_select.LARGEST_TOKENS + 1),
        _stage(outputs=", float[2,12] confidence"),
        _stage(outputs=", int32[2,12] doubled", further="doubled = Add (label, label)"),
        _stage(outputs=", int32[2,5] left"),
        _stage(outputs=", float[2,7,8] again", further="again = edgeexport.TokenUnmerge (x, kept)"),
    ],
    ids=[
        "another priority",
        "too many tokens",
        "confidence asked for",
        "label read",
        "choice asked for",
        "two gathers",
    ],
)
def test_a_stage_that_is_more_than_its_op_stays(text: str) -> None:
    model = _model(text)
    assert plugin_steps(ir.from_proto(model)) == []
    assert "TokenPartition" in _custom(plugin_model(model))


def test_a_part_that_nobody_reads_is_an_output_without_readers() -> None:
    text = _stage().replace(", int32[2,7] alive)", ")").replace("alive = Gather <axis = 2> (alive_kept, zero)", "")
    text = text.replace("alive_kept = edgeexport.TokenUnmerge (every, kept)", "")
    model = _model(text)
    found = plugin_model(model)
    (node,) = (node for node in found.graph.node if node.domain == DOMAIN)
    assert node.op_type == "TokenProtectSelect" and len(set(node.output)) == 4
    inputs = _inputs(model, 7)
    for ours, theirs in zip(_run(_with_bodies(found), inputs), _run(model, inputs), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_nodes_stay_in_order_of_execution() -> None:
    """The rows are made behind the choice, and a first gather is read before the last one."""
    program = ir.from_proto(_model(_stage()))
    assert join_steps(program) == 1
    known = {*program.graph.inputs, *program.graph.initializers.values()}
    for node in program.graph:
        assert known.issuperset(value for value in node.inputs if value is not None), node
        known.update(node.outputs)
    assert join_steps(program) == 0


def _merging(*, into: str = "1, 3, 5, 7", kept: str = "kept", second: str = "", outputs: str = "") -> str:
    """A step of ToMe on nine tokens, the first of them a class token, and what reads it."""
    return f"""{_HEAD}
    g (float[2,9,4] metric, float[2,9,6] x, float[2,9,1] size) => (float[2,7,6] y, float[2,7,1] merged_size{outputs}) {{
        none = Constant <value = int32[2,2] {{6, 8, 6, 8}}> ()
        source, target, kept = edgeexport.TokenMatch <sources = [2, 4, 6, 8], destinations = [1, 3, 5, 7], taken = [0, 1],
            left = [2, 3], windows = 1, ascending = 1> (metric)
        normed = Mul (x, x)
        merged, merged_size = edgeexport.TokenMerge <prefix = 1, destinations = [{into}]>
            (normed, size, source, target, {kept})
        y = Relu (merged)
        {second}
    }}"""


def test_matching_and_merging_are_one_node_with_the_same_results() -> None:
    model = _model(_merging(outputs=", int32[2,2] target, int32[2,2] kept"))
    found = plugin_model(model)
    (node,) = (node for node in found.graph.node if node.domain == DOMAIN)
    assert (node.op_type, list(node.input)) == ("TokenMatchMerge", ["metric", "normed", "size"])
    assert [name for name in node.output if "unread" not in name] == [
        "merged", "merged_size", "source", "target", "kept",
    ]  # fmt: skip
    inputs = {name: values + 0.5 for name, values in _inputs(model, 1000).items()}
    for ours, theirs in zip(_run(_with_bodies(found), inputs), _run(model, inputs), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def _between_blocks(logarithms: str = "", outputs: str = "") -> str:
    """A step of ToMe that compares keys by the mean of their heads, and weighs the next attention by sizes."""
    text = _merging(outputs=f", float[2,1,1,7] bias, float[2,3,9,4] other{outputs}")
    text = text.replace("float[2,9,4] metric", "float[2,3,9,4] keys").replace("(metric)", "(mean)")
    text = text.replace("normed =", "mean = ReduceMean <keepdims = 0> (keys, first)\n other = Relu (keys)\n normed =")
    text = text.replace("none =", "first = Constant <value_ints = [1]> ()\n none =")
    # In order: the mean ahead of the choice.
    mean = "mean = ReduceMean <keepdims = 0> (keys, first)\n"
    text = text.replace(mean, "").replace("source, target, kept = edge", f"{mean} source, target, kept = edge")
    behind = """logs = Log (merged_size)
        row = Transpose <perm = [0, 2, 1]> (logs)
        bias = Unsqueeze (row, first)"""
    return text.replace("y = Relu (merged)", f"y = Relu (merged)\n {behind}\n {logarithms}")


def test_the_mean_of_heads_and_the_logarithm_of_sizes_go_along() -> None:
    model = _model(_between_blocks())
    found = plugin_model(model)
    (node,) = (node for node in found.graph.node if node.domain == DOMAIN)
    assert list(node.input) == ["keys", "normed", "size"] and node.output[2] == "bias"
    assert not {"ReduceMean", "Log"} & {node.op_type for node in found.graph.node}
    inputs = {name: values + 0.5 for name, values in _inputs(model, 1000).items()}
    for ours, theirs in zip(_run(_with_bodies(found, heads=True), inputs), _run(model, inputs), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_a_mean_or_logarithm_that_others_read_stays() -> None:
    both = plugin_model(_model(_between_blocks("seen = Relu (mean)", ", float[2,9,4] seen")))
    assert "ReduceMean" in {node.op_type for node in both.graph.node}
    (node,) = (node for node in both.graph.node if node.domain == DOMAIN)
    assert node.input[0] == "mean" and node.output[2] == "bias"
    both = plugin_model(_model(_between_blocks("seen = Relu (row)", ", float[2,1,7] seen")))
    assert "Log" in {node.op_type for node in both.graph.node}


def test_of_several_merges_by_one_choice_the_first_is_joined() -> None:
    """As around the branches of a block: the second merges what depends on the first."""
    back = """place = Constant <value = int32[2,9] {0, 3, 1, 4, 2, 5, 3, 6, 4, 0, 3, 1, 4, 2, 5, 3, 6, 4}> ()
        copied = edgeexport.TokenUnmerge (merged, place)
        added = Add (x, copied)
        again, again_size = edgeexport.TokenMerge <prefix = 1, destinations = [1, 3, 5, 7]>
            (added, size, source, target, kept)"""
    model = _model(_merging(second=back, outputs=", float[2,7,6] again"))
    found = plugin_model(model)
    assert _custom(found) == ["TokenMatchMerge", "TokenMerge"]
    inputs = {name: values + 0.5 for name, values in _inputs(model, 1000).items()}
    for ours, theirs in zip(_run(_with_bodies(found), inputs), _run(model, inputs), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "text",
    [
        _merging(into="1, 3, 5, 8"),
        _merging(kept="none"),
        _merging()
        .replace("(normed, size", "(seen, size")
        .replace(
            "normed = Mul (x, x)",
            "seen_source = Cast <to = 1> (source)\n total = ReduceMax <keepdims = 0> (seen_source)\n seen = Mul (x, total)",
        ),
    ],
    ids=["other destinations", "another list", "tokens that depend on the choice"],
)
def test_a_merge_that_does_not_follow_its_match_alone_stays(text: str) -> None:
    assert _custom(plugin_model(_model(text))) == ["TokenMatch", "TokenMerge"]

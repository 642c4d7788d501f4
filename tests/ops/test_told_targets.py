"""Matching that tells merging where every token goes: the same merged tokens and the same lists, in one graph without sorts."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from match_cases import exact_metrics, layouts, match_attributes, merge_attributes
from onnx import TensorProto, helper
from op_models import run_model
from torch import Tensor

from edgeexport.graph.inline import inlined_model
from edgeexport.graph.told_targets import tell_targets
from edgeexport.ops import DOMAIN, DOMAIN_VERSION, OPSET, token_match, token_merge
from edgeexport.ops.match_tables import MatchLayout, MatchTables, tables_from_layout


def step_graph(metric: Tensor, x: Tensor, tables: MatchTables) -> onnx.ModelProto:
    """One merging step as the exporter writes it, with the lists of what merged as inner values."""
    batch, tokens, width = x.shape
    nodes = [
        helper.make_node(
            token_match.NAME,
            ["metric"],
            ["source", "target", "kept"],
            "match",
            domain=DOMAIN,
            **match_attributes(tables),
        ),
        helper.make_node(
            token_merge.NAME,
            ["x", "size", "source", "target", "kept"],
            ["merged", "merged_size"],
            "merge",
            domain=DOMAIN,
            **merge_attributes(tables),
        ),
    ]
    shapes = {"metric": metric.shape, "x": x.shape, "size": (batch, tokens, 1)}
    results = {"merged": (batch, tables.tokens_out, width), "merged_size": (batch, tables.tokens_out, 1)}
    lists = {"source": tables.R, "target": tables.R, "kept": tables.K}
    graph = helper.make_graph(
        nodes,
        "step",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in shapes.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in results.items()],
        value_info=[
            helper.make_tensor_value_info(name, TensorProto.INT32, [batch, count]) for name, count in lists.items()
        ],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def told(model: onnx.ModelProto) -> onnx.ModelProto:
    program = ir.from_proto(model)
    assert tell_targets(program)
    result = ir.to_proto(program)
    result.functions.extend([token_match.tensorrt_function(), token_merge.tensorrt_function()])
    return result


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_the_same_tokens_merge(data: st.DataObject) -> None:
    tables = tables_from_layout(data.draw(layouts().filter(lambda layout: tables_from_layout(layout).K > 0)))
    batch, width = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 4))
    metric = data.draw(exact_metrics(batch, tables.tokens))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**16)))
    x = torch.randn(batch, tables.tokens, width, generator=generator)
    size = torch.randint(1, 9, (batch, tables.tokens, 1), generator=generator).float()
    edges = token_match.token_match_reference(metric, tables)
    merged, merged_size = token_merge.token_merge_reference(x, size, *edges, tables)
    plain = inlined_model(told(step_graph(metric, x, tables)), ["source", "target", "kept"])
    lists = [value for value in plain.graph.value_info if value.name in ("source", "target", "kept")]
    plain.graph.output.extend(lists)  # as an engine makes them outputs
    found = dict(
        zip(
            [value.name for value in plain.graph.output],
            run_model(plain, {"metric": metric, "x": x, "size": size}),
            strict=True,
        )
    )
    torch.testing.assert_close(found["merged"], merged, atol=1e-6, rtol=1e-6)
    assert torch.equal(found["merged_size"], merged_size)
    for name, expected in zip(("source", "target", "kept"), edges, strict=True):
        assert torch.equal(found[name], expected), name


def test_no_sort_but_that_of_the_tokens_that_stay() -> None:
    tables = tables_from_layout(MatchLayout("alternate", 22, 1, 5))
    metric, x = torch.randn(1, 22, 4), torch.randn(1, 22, 3)
    plain = inlined_model(told(step_graph(metric, x, tables)))
    operators = [node.op_type for node in plain.graph.node]
    assert operators.count("TopK") == 1 and "MatMul" not in operators


@pytest.mark.parametrize("tokens", [2050])
def test_large_merges_keep_their_products(tokens: int) -> None:
    tables = tables_from_layout(MatchLayout("alternate", tokens, 0, 100))
    program = ir.from_proto(step_graph(torch.zeros(1, tokens, 64), torch.zeros(1, tokens, 64), tables))
    before = [node.op_type for node in program.graph]
    assert not tell_targets(program)
    assert [(node.op_type, len(node.inputs)) for node in program.graph] == [(before[0], 1), (before[1], 5)]


def test_a_merge_by_another_choice_is_left_alone() -> None:
    tables = tables_from_layout(MatchLayout("alternate", 22, 1, 5))
    model = step_graph(torch.zeros(1, 22, 4), torch.zeros(1, 22, 3), tables)
    model.graph.input.append(helper.make_tensor_value_info("chosen", TensorProto.INT32, [1, tables.R]))
    model.graph.node[1].input[2] = "chosen"
    assert not tell_targets(ir.from_proto(model))

"""TensorRT-RTX parses and builds the graphs of a language model, with both forms of cache update."""

from __future__ import annotations

from pathlib import Path

import pytest
from decoder_cases import fixed_spec, golden_decoder, steps_of

from edgeexport.backends.tensorrt_rtx import check_tensorrt_rtx
from edgeexport.commands.graph_plans import plans_of_graphs
from edgeexport.graph.graph_list import graphs_from_forms
from edgeexport.graph.node_work import graph_work
from edgeexport.hosts import GRAPH_LISTS
from edgeexport.hosts.decoder.graphs import decoder_graphs


class _Scopes:
    scopes = GRAPH_LISTS["decoder"].scopes


@pytest.mark.parametrize(
    ("form", "name"), [("operators", "decode"), ("operators", "prefill"), ("tensor_scatter", "decode")]
)
def test_flowmm_graphs_build(form: str, name: str, tmp_path: Path) -> None:
    model, golden = golden_decoder(form)
    spec = fixed_spec(golden, "fixed")
    wanted = [item for item in decoder_graphs(model, steps_of(spec, model), spec.budget) if item.name == name]
    (graph,) = graphs_from_forms(wanted, {})
    operators = {node.op_type for node in graph.plain.graph.node}
    assert ("TensorScatter" in operators) == (form == "tensor_scatter" and name == "decode")
    assert ("Attention" in operators) == (form == "tensor_scatter" and name == "decode")
    path = tmp_path / "graph.trt.onnx"
    path.write_bytes(graph.plain.SerializeToString())
    found = check_tensorrt_rtx(path)
    if found.status == "not-run":
        pytest.skip(f"TensorRT-RTX: {found.reason}")
    assert found.status == "passed", found.reason
    work = graph_work(graph.with_functions, graph.plain, _Scopes())
    plans = plans_of_graphs([graph], {name: work}, {f"tensorrt_rtx.{name}": found}, "fp32")
    assert plans is not None and not plans.missing
    plan = plans.of_graph(name, "fp32")
    assert plan is not None and plan.model == name
    counted = sum(node.product_macs for node in work.nodes)
    assert sum(kernel.macs for kernel in plan.kernels) == pytest.approx(counted, rel=0.01)
    parts = {kernel.part for kernel in plan.kernels}
    assert {"block_0", "head"} <= parts and ("merge_0" in parts) == (name == "prefill")

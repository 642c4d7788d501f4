"""ONNX's own Attention is counted as the two products that it stands for; graphs of a list share large weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import parser

from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.bundle.places import WEIGHTS_FILE
from edgeexport.errors import LintError
from edgeexport.graph import graph_list
from edgeexport.graph.graph_list import graphs_from_forms
from edgeexport.graph.macs import graph_macs
from edgeexport.graph.weights_apart import write_graphs
from edgeexport.hosts.graph_form import GraphForm


def attention(query: str, key: str, value: str, result: str) -> onnx.ModelProto:
    return parser.parse_model(f"""
        <ir_version: 10, opset_import: ["": 24]>
        g (float[{query}] q, float[{key}] k, float[{value}] v) => (float[{result}] y) {{ y = Attention (q, k, v) }}""")


def test_attention_counts_logits_and_weighted_values_of_every_query_head() -> None:
    cost = graph_macs(attention("1,6,1,8", "1,2,20,8", "1,2,20,4", "1,6,1,4"))
    assert (cost.total, cost.opaque) == (6 * 20 * 8 + 6 * 20 * 4, ())
    with pytest.raises(LintError, match="three dimensions"):
        graph_macs(attention("1,1,48", "1,20,16", "1,20,16", "1,1,48"))


class _Layer(torch.nn.Module):
    def __init__(self, weight: torch.nn.Parameter, sign: float) -> None:
        super().__init__()
        self.weight, self.sign = weight, sign

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self.sign * (x @ self.weight),)


def test_graphs_of_large_weights_share_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.nn.Parameter(torch.from_numpy(np.random.default_rng(0).standard_normal((96, 96), np.float32)))
    x = torch.ones(1, 96)
    forms = [
        GraphForm(name, _Layer(weight, sign).eval(), (x,), ("x",), ("y",), 20)
        for name, sign in (("one", 2.0), ("two", -2.0))
    ]
    monkeypatch.setattr(graph_list, "_IN_MEMORY_BYTES", 2 * weight.nbytes - 1)
    made = graphs_from_forms(forms, {})
    write_graphs(tmp_path, {f"{graph.name}.onnx": graph.with_functions for graph in made})
    assert weight.nbytes <= (tmp_path / WEIGHTS_FILE).stat().st_size < 2 * weight.nbytes
    assert all((tmp_path / f"{graph.name}.onnx").stat().st_size < weight.nbytes // 4 for graph in made)
    assert [graph.weight_bytes >= weight.nbytes for graph in made] == [True, True]
    told = [OnnxRuntimeRunner(tmp_path / f"{graph.name}.onnx", threads=1).run(x.numpy())["y"] for graph in made]
    np.testing.assert_allclose(told[0], -told[1], atol=1e-5)
    np.testing.assert_allclose(told[0], 2 * weight.detach().numpy().sum(axis=0)[None], rtol=1e-4, atol=1e-4)

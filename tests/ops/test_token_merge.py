"""TokenMerge: torch reference == brute force in Python == ONNX body; maps back; blocks that share one body in one graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from match_cases import SIX_LAYOUTS, attributes_of, layouts, merge_attributes
from onnx import TensorProto
from op_models import assert_static_standard_graph, exported_node, one_node_model, run_model
from torch import Tensor

from edgeexport.backends.tensorrt_rtx import check_tensorrt_rtx
from edgeexport.graph.inline import inlined_model
from edgeexport.graph.lint import lint_model
from edgeexport.ops import DOMAIN, OPSET, token_match, token_merge, token_unmerge
from edgeexport.ops.match_tables import MatchLayout, MatchTables, tables_from_layout
from edgeexport.ops.token_merge import ATTRIBUTES, NAME, onnx_function, position_map

Edges = tuple[Tensor, Tensor, Tensor]


def model_for(x: Tensor, size: Tensor, edges: Edges, tables: MatchTables) -> onnx.ModelProto:
    inputs = dict(zip(("x", "size", "source", "target", "kept"), (x, size, *edges), strict=True))
    batch, rows = x.shape[0], tables.tokens_out
    outputs = {
        "merged": (TensorProto.FLOAT, (batch, rows, x.shape[2])),
        "merged_size": (TensorProto.FLOAT, (batch, rows, 1)),
    }
    return one_node_model(onnx_function(), inputs, outputs, merge_attributes(tables))


def run_body(x: Tensor, size: Tensor, edges: Edges, tables: MatchTables) -> list[Tensor]:
    inputs = dict(zip(("x", "size", "source", "target", "kept"), (x, size, *edges), strict=True))
    return run_model(model_for(x, size, edges, tables), inputs)


def run_for_tensorrt(x: Tensor, size: Tensor, edges: Edges, tables: MatchTables) -> list[Tensor]:
    """By the token that every token is part of; ``source`` and ``target`` are not looked at."""
    into = torch.full(x.shape[:2], -1.0)
    for token in tables.destination_tokens:
        into[:, token] = token
    into = into.scatter(1, edges[0].long(), edges[1].float())
    nothing = torch.zeros_like(edges[0])
    parts = (x, size, nothing, nothing, edges[2], into)
    inputs = dict(zip(("x", "size", "source", "target", "kept", "into"), parts, strict=True))
    outputs = {
        "merged": (TensorProto.FLOAT, (x.shape[0], tables.tokens_out, x.shape[2])),
        "merged_size": (TensorProto.FLOAT, (x.shape[0], tables.tokens_out, 1)),
    }
    model = one_node_model(token_merge.tensorrt_function(), inputs, outputs, merge_attributes(tables))
    return run_model(model, inputs)


def row_groups(edges: Edges, tables: MatchTables, image: int) -> list[list[int]]:
    """The tokens that make up each output row, the one that gives the row first."""
    source, target, kept = (part[image].tolist() for part in edges)
    groups = [[token] for token in (*range(tables.prefix), *kept, *tables.destination_tokens)]
    for group in groups:
        group += [token for token, into in zip(source, target, strict=True) if into == group[0]]
    return groups


def brute_force(x: Tensor, size: Tensor, edges: Edges, tables: MatchTables) -> tuple[Tensor, Tensor]:
    values, sizes = [], []
    for image in range(x.shape[0]):
        rows = [[(x[image, i].double(), size[image, i].double()) for i in g] for g in row_groups(edges, tables, image)]
        sizes.append(torch.stack([sum(s for _, s in row) for row in rows]))
        values.append(torch.stack([sum(v * s for v, s in row) / sum(s for _, s in row) for row in rows]))
    return torch.stack(values), torch.stack(sizes)


def drawn_edges(draw: st.DrawFn, tables: MatchTables, batch: int) -> Edges:
    """Any choice that the tables allow: r of each window's sources, each into any destination of its window."""
    na, nb = (len(table) // tables.windows for table in (tables.sources, tables.destinations))
    source, target, kept = [], [], []
    for _ in range(batch):
        merged, into, stays = [], [], []
        for w, r in enumerate(tables.r_per_window):
            order = draw(st.permutations([t for t in tables.sources[w * na : (w + 1) * na] if t >= 0]))
            destinations = [t for t in tables.destinations[w * nb : (w + 1) * nb] if t >= 0]
            merged += order[:r]
            into += [draw(st.sampled_from(destinations)) for _ in range(r)]
            stays += order[r:]
        source.append(merged)
        target.append(into)
        kept.append(stays)
    return tuple(torch.tensor(rows, dtype=torch.int32).reshape(batch, -1) for rows in (source, target, kept))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor, Edges, MatchTables]:
    layout, batch, width = draw(layouts()), draw(st.integers(1, 3)), draw(st.integers(1, 5))
    tables = tables_from_layout(layout)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    x = torch.randn(batch, layout.tokens, width, generator=generator)
    size = torch.randint(1, 9, (batch, layout.tokens, 1), generator=generator).float()
    return x, size, drawn_edges(draw, tables, batch), tables


@settings(deadline=None, max_examples=100)
@given(cases())
def test_reference_equals_brute_force_equals_body(case: tuple[Tensor, Tensor, Edges, MatchTables]) -> None:
    x, size, edges, tables = case
    expected, expected_size = brute_force(x, size, edges, tables)
    bodies = [run(x, size, edges, tables) for run in (run_body, run_for_tensorrt)]
    for merged, merged_size in (token_merge.token_merge(x, size, *edges, tables), *bodies):
        assert merged.dtype == merged_size.dtype == torch.float32
        assert torch.equal(merged_size.double(), expected_size)
        torch.testing.assert_close(merged.double(), expected, atol=1e-6, rtol=1e-6)
        assert torch.equal(merged_size.sum(dim=(1, 2)), size.sum(dim=(1, 2)))


@settings(deadline=None, max_examples=100)
@given(cases())
def test_rows_into_which_nothing_merges_are_copied_exactly(case: tuple[Tensor, Tensor, Edges, MatchTables]) -> None:
    x, size, edges, tables = case
    bodies = [run(x, size, edges, tables) for run in (run_body, run_for_tensorrt)]
    for merged, merged_size in (token_merge.token_merge(x, size, *edges, tables), *bodies):
        for image in range(x.shape[0]):
            for row, (token, *others) in enumerate(row_groups(edges, tables, image)):
                if not others:
                    assert torch.equal(merged[image, row], x[image, token])
                    assert torch.equal(merged_size[image, row], size[image, token])


@settings(deadline=None, max_examples=100)
@given(cases())
def test_unmerging_gives_every_token_the_row_of_its_group(case: tuple[Tensor, Tensor, Edges, MatchTables]) -> None:
    x, size, edges, tables = case
    position = position_map(*edges, tables)
    assert position.dtype == torch.int32 and position.shape == x.shape[:2]
    merged, _ = token_merge.token_merge(x, size, *edges, tables)
    restored = token_unmerge.token_unmerge(merged, position)
    for image in range(x.shape[0]):
        for row, group in enumerate(row_groups(edges, tables, image)):
            assert position[image, group].tolist() == [row] * len(group)
            assert torch.equal(restored[image, group], merged[image, row].expand(len(group), -1))


def test_a_mean_weighted_by_size_by_hand() -> None:
    tables = tables_from_layout(MatchLayout("alternate", 6, 1, 2))
    edges = tuple(torch.tensor([row], dtype=torch.int32) for row in ([4, 2], [1, 1], []))
    x = torch.tensor([7.0, 1.0, 2.0, 9.0, 4.0, 8.0]).reshape(1, 6, 1)
    size = torch.tensor([1.0, 2.0, 1.0, 3.0, 5.0, 1.0]).reshape(1, 6, 1)
    merged, merged_size = token_merge.token_merge(x, size, *edges, tables)
    assert merged.flatten().tolist() == [7.0, (2 * 1 + 1 * 2 + 5 * 4) / 8, 9.0, 8.0]
    assert merged_size.flatten().tolist() == [1.0, 8.0, 3.0, 1.0]


# A block where no source stays is exported with a stand-in for what does; test_blocks_share_one_body has it.
SOME_STAY = [layout for layout in SIX_LAYOUTS if tables_from_layout(layout).K]


@pytest.mark.parametrize("layout", [*SOME_STAY, MatchLayout("alternate", 197, 1, 13)], ids=str)
def test_inlined_body_is_static(layout: MatchLayout) -> None:
    tables = tables_from_layout(layout)
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, layout.tokens, 24, generator=generator)
    size = torch.rand(2, layout.tokens, 1, generator=generator) + 0.5
    edges = token_match.token_match(x, tables)
    model = model_for(x, size, edges, tables)
    plain = assert_static_standard_graph(model)
    assert not [node.op_type for node in plain.graph.node if node.op_type.startswith("Scatter")]
    inputs = dict(zip(("x", "size", "source", "target", "kept"), (x, size, *edges), strict=True))
    for found, expected in zip(run_model(plain, inputs), token_merge.token_merge(x, size, *edges, tables), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


def test_export_emits_one_node_with_the_attributes() -> None:
    tables = tables_from_layout(SIX_LAYOUTS[3])

    class Merge(torch.nn.Module):
        def forward(self, x: Tensor, size: Tensor, source: Tensor, target: Tensor, kept: Tensor) -> tuple[Tensor, ...]:
            return token_merge.token_merge(x, size, source, target, kept, tables)

    x = torch.randn(2, tables.tokens, 8)
    node = exported_node(Merge(), x, torch.ones(2, tables.tokens, 1), *token_match.token_match(x, tables))
    assert (node.domain, node.op_type) == (DOMAIN, NAME)
    assert attributes_of(node) == merge_attributes(tables)
    assert set(ATTRIBUTES) == set(onnx_function().attribute) == set(attributes_of(node))


class MergeBlocks(torch.nn.Module):
    """Merges block after block, then copies every row back to the tokens that it stands for."""

    def __init__(self, steps: tuple[MatchLayout, ...]) -> None:
        super().__init__()
        self.tables = [tables_from_layout(layout) for layout in steps]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        size = torch.ones(*x.shape[:2], 1)
        chosen: list[Tensor] = []
        positions = []
        for tables in self.tables:
            source, target, kept = token_match.token_match(x[:, :, :16], tables)
            x, size = token_merge.token_merge(x, size, source, target, kept, tables)
            positions.append(position_map(source, target, kept, tables))
            chosen += [source, target] if tables.K == 0 else [source, target, kept]
        restored = x
        for position in reversed(positions):
            restored = token_unmerge.token_unmerge(restored, position)
        return x, size, restored, *chosen


CHAINS = {
    "with a class token": (MatchLayout("alternate", 21, 1, 4), MatchLayout("alternate", 17, 1, 5)),
    "every source merges": (MatchLayout("alternate", 21, 1, 10), MatchLayout("alternate", 11, 1, 5)),
    "registers, distilled to the end": (MatchLayout("alternate", 30, 5, 12), MatchLayout("alternate", 18, 2, 8)),
    "no class token, to the end": (MatchLayout("alternate", 16, 0, 8), MatchLayout("alternate", 8, 0, 3)),
    "windows, then all": (
        MatchLayout("windows", 47, 2, 13, columns=7, window=3),
        MatchLayout("windows", 34, 2, 9, columns=6, window=4),
        MatchLayout("alternate", 25, 2, 4),
    ),
    "cells": (MatchLayout("cells", 64, 0, 32, columns=8),),
    "cells to the corners": (MatchLayout("cells", 17, 1, 12, columns=4),),
}


@pytest.fixture(scope="module", params=CHAINS.values(), ids=CHAINS.keys())
def chain(request: pytest.FixtureRequest) -> tuple[torch.nn.Module, Tensor, onnx.ModelProto]:
    """A module, an input that it was not exported with, and its graph with one body per op."""
    module = MergeBlocks(request.param).eval()
    shape = (2, request.param[0].tokens, 24)
    program = torch.onnx.export(
        module, (torch.zeros(shape),), dynamo=True, opset_version=OPSET, verbose=False, input_names=["x"]
    )
    assert program is not None
    model = program.model_proto
    model.functions.extend(op.onnx_function() for op in (token_match, token_merge, token_unmerge))
    return module, torch.randn(shape, generator=torch.Generator().manual_seed(4)), model


def test_blocks_share_one_body(chain: tuple[torch.nn.Module, Tensor, onnx.ModelProto]) -> None:
    """Blocks of other sizes call the same function with other attributes; also after inlining."""
    module, x, model = chain
    assert len([node for node in model.graph.node if node.op_type == NAME]) == len(module.tables)
    for graph in (model, inlined_model(model)):
        onnx.checker.check_model(graph, full_check=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for found, expected in zip(session.run(None, {"x": x.numpy()}), module(x), strict=True):
            assert found.dtype == expected.numpy().dtype
            np.testing.assert_allclose(found, expected.numpy(), atol=1e-5, rtol=1e-5)


def test_graph_passes_the_lint(chain: tuple[torch.nn.Module, Tensor, onnx.ModelProto]) -> None:
    assert lint_model(chain[2]).findings == ()


def test_tensorrt_builds_the_inlined_graph(
    chain: tuple[torch.nn.Module, Tensor, onnx.ModelProto], tmp_path: Path
) -> None:
    onnx.save(inlined_model(chain[2]), tmp_path / "merge.onnx")
    verdict = check_tensorrt_rtx(tmp_path / "merge.onnx", timeout_s=120)
    if verdict.status == "not-run":
        pytest.skip(f"TensorRT-RTX cannot judge the graph: {verdict.reason}")
    assert verdict.status == "passed", verdict.reason

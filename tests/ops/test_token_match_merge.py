"""TokenMatchMerge: torch reference == the functions that it is made of, in ONNX Runtime; some source stays."""

from __future__ import annotations

import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from match_cases import SIX_LAYOUTS, exact_metrics, layouts, match_attributes
from onnx import TensorProto
from op_models import assert_static_standard_graph, one_node_model, run_model
from torch import Tensor

from edgeexport.ops import token_match, token_merge
from edgeexport.ops.match_tables import MatchLayout, MatchTables, tables_from_layout
from edgeexport.ops.token_match_merge import ATTRIBUTES, onnx_function, token_match_merge_reference

STAYING = [layout for layout in SIX_LAYOUTS if tables_from_layout(layout).K]


def model_for(metric: Tensor, x: Tensor, size: Tensor, tables: MatchTables) -> onnx.ModelProto:
    batch, _, width = x.shape
    shapes = {
        "merged": (TensorProto.FLOAT, (batch, tables.tokens_out, width)),
        "merged_size": (TensorProto.FLOAT, (batch, tables.tokens_out, 1)),
        "log_size": (TensorProto.FLOAT, (batch, 1, 1, tables.tokens_out)),
        "source": (TensorProto.INT32, (batch, tables.R)),
        "target": (TensorProto.INT32, (batch, tables.R)),
        "kept": (TensorProto.INT32, (batch, tables.K)),
    }
    attributes = {**match_attributes(tables), "prefix": tables.prefix}
    bodies = [op.onnx_function() for op in (token_match, token_merge)]
    inputs = {"metric": metric, "x": x, "size": size}
    return one_node_model(
        onnx_function(tables.destination_tokens, heads=metric.ndim == 4), inputs, shapes, attributes, further=bodies
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, MatchTables]:
    """Exact cosines, so that indices do not depend on rounding."""
    layout = draw(layouts().filter(lambda layout: tables_from_layout(layout).K > 0))
    batch = draw(st.integers(1, 3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    x = torch.randn(batch, layout.tokens, draw(st.integers(1, 9)), generator=generator)
    size = torch.randint(1, 9, (batch, layout.tokens, 1), generator=generator).float()
    return draw(exact_metrics(batch, layout.tokens)), x, size, tables_from_layout(layout)


def assert_same(found: list[Tensor], expected: tuple[Tensor, ...]) -> None:
    assert torch.allclose(found[0], expected[0], atol=1e-5)
    assert torch.equal(found[1], expected[1])
    assert torch.allclose(found[2], expected[2], atol=1e-6)
    for ours, theirs in zip(found[3:], expected[3:], strict=True):
        assert torch.equal(ours, theirs)


@settings(deadline=None, max_examples=40)
@given(cases())
def test_reference_equals_function(case: tuple[Tensor, Tensor, Tensor, MatchTables]) -> None:
    metric, x, size, _ = case
    expected = token_match_merge_reference(*case)
    assert_same(run_model(model_for(*case), {"metric": metric, "x": x, "size": size}), expected)
    # Nothing gets lost, whatever merges into what.
    assert torch.allclose(expected[1].sum(dim=1), size.sum(dim=1))
    assert torch.allclose((expected[0] * expected[1]).sum(dim=1), (x * size).sum(dim=1), atol=1e-3)


def test_equal_tokens_merge_the_lowest_sources_into_the_lowest_destination() -> None:
    tables = tables_from_layout(MatchLayout("alternate", 10, 1, 2))
    x = torch.arange(10.0)[None, :, None]
    merged, size, log_size, source, target, kept = token_match_merge_reference(
        torch.ones(1, 10, 4), x, torch.ones(1, 10, 1), tables
    )
    assert (source.tolist(), target.tolist(), kept.tolist()) == ([[2, 4]], [[1, 1]], [[6, 8]])
    assert merged.flatten().tolist() == [0, 6, 8, pytest.approx(7 / 3), 3, 5, 7, 9]
    assert size.flatten().tolist() == [1, 1, 1, 3, 1, 1, 1, 1]
    assert log_size.shape == (1, 1, 1, 8) and torch.equal(log_size.flatten(), size.flatten().log())


def test_heads_are_compared_by_their_mean() -> None:
    tables = tables_from_layout(MatchLayout("alternate", 10, 1, 2))
    generator = torch.Generator().manual_seed(5)
    metric, x = torch.randn(2, 3, 10, 4, generator=generator), torch.randn(2, 10, 6, generator=generator)
    size = torch.ones(2, 10, 1)
    found = token_match_merge_reference(metric, x, size, tables)
    mean = (metric[:, 0] + metric[:, 1] + metric[:, 2]) / 3
    assert_same(list(found), token_match_merge_reference(mean, x, size, tables))
    first = token_match_merge_reference(metric[:, 0], x, size, tables)
    assert any(not torch.equal(ours, theirs) for ours, theirs in zip(found[3:], first[3:], strict=True))
    assert_same(run_model(model_for(metric, x, size, tables), {"metric": metric, "x": x, "size": size}), found)


@pytest.mark.parametrize("layout", STAYING)
def test_inlined_function_is_static(layout: MatchLayout) -> None:
    tables = tables_from_layout(layout)
    generator = torch.Generator().manual_seed(1)
    metric, x = (torch.randn(2, layout.tokens, width, generator=generator) for width in (4, 6))
    size = torch.ones(2, layout.tokens, 1)
    plain = assert_static_standard_graph(model_for(metric, x, size, tables))
    expected = token_match_merge_reference(metric, x, size, tables)
    assert_same(run_model(plain, {"metric": metric, "x": x, "size": size}), expected)
    assert set(ATTRIBUTES) == set(onnx_function([1]).attribute)

"""TokenMatch: torch reference == brute force in Python == ONNX body in ONNX Runtime."""

from __future__ import annotations

import math

import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from match_cases import SIX_LAYOUTS, attributes_of, exact_metrics, layouts, match_attributes
from onnx import TensorProto
from op_models import assert_static_standard_graph, exported_node, one_node_model, run_model
from torch import Tensor

from edgeexport.ops import DOMAIN
from edgeexport.ops.match_tables import MatchLayout, MatchTables, tables_from_layout
from edgeexport.ops.token_match import (
    ATTRIBUTES,
    NAME,
    best_and_gap,
    onnx_function,
    tensorrt_attributes,
    tensorrt_function,
    token_match,
)

Decision = tuple[list[list[int]], list[list[int]], list[list[int]]]


def model_for(metric: Tensor, tables: MatchTables) -> onnx.ModelProto:
    batch = metric.shape[0]
    counts = {"source": tables.R, "target": tables.R, "kept": max(tables.K, 1)}
    outputs = {name: (TensorProto.INT32, (batch, count)) for name, count in counts.items()}
    return one_node_model(onnx_function(), {"metric": metric}, outputs, match_attributes(tables))


def run_for_tensorrt(metric: Tensor, tables: MatchTables) -> tuple[list[Tensor], Tensor]:
    """What the form for TensorRT gives: the same three, and the token that every token is part of afterwards."""
    batch, tokens, _ = metric.shape
    counts = {"source": tables.R, "target": tables.R, "kept": max(tables.K, 1)}
    outputs = {name: (TensorProto.INT32, (batch, count)) for name, count in counts.items()}
    outputs["into"] = (TensorProto.FLOAT, (batch, tokens))
    attributes = match_attributes(tables)
    attributes |= tensorrt_attributes(attributes, tokens)
    model = one_node_model(tensorrt_function(), {"metric": metric}, outputs, attributes)
    source, target, kept, into = run_model(model, {"metric": metric})
    return [source, target, kept[:, : tables.K]], into


def run_body(metric: Tensor, tables: MatchTables) -> list[Tensor]:
    source, target, kept = run_model(model_for(metric, tables), {"metric": metric})
    return [source, target, kept[:, : tables.K]]


def cosine(a: list[float], b: list[float]) -> float:
    norms = [max(math.sqrt(sum(x * x for x in row)), 1e-12) for row in (a, b)]
    return sum(x / norms[0] * (y / norms[1]) for x, y in zip(a, b, strict=True))


def window_lists(tables: MatchTables) -> list[tuple[list[int], list[int], int]]:
    na, nb = (len(table) // tables.windows for table in (tables.sources, tables.destinations))
    return [
        (
            [token for token in tables.sources[w * na : (w + 1) * na] if token >= 0],
            [token for token in tables.destinations[w * nb : (w + 1) * nb] if token >= 0],
            tables.r_per_window[w],
        )
        for w in range(tables.windows)
    ]


def brute_force(metric: Tensor, tables: MatchTables) -> Decision:
    result: Decision = ([], [], [])
    for rows in metric.tolist():
        merged, into, stays = [], [], []
        for sources, destinations, r in window_lists(tables):
            best = {}
            for source in sources:
                scored = [(-cosine(rows[source], rows[d]), position) for position, d in enumerate(destinations)]
                best[source] = min(scored, default=(math.inf, 0))  # the lowest position among equals
            ranked = sorted(sources, key=lambda source: (best[source][0], source))
            merged += ranked[:r]
            into += [destinations[best[source][1]] for source in ranked[:r]]
            stays += ranked[r:]
        for part, tokens in zip(result, (merged, into, sorted(stays) if tables.ascending else stays), strict=True):
            part.append(tokens)
    return result


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, MatchTables]:
    layout = draw(layouts())
    return draw(exact_metrics(draw(st.integers(1, 3)), layout.tokens)), tables_from_layout(layout)


@settings(deadline=None, max_examples=100)
@given(cases())
def test_reference_equals_brute_force_equals_body(case: tuple[Tensor, MatchTables]) -> None:
    metric, tables = case
    expected = brute_force(metric, tables)
    for_tensorrt, into = run_for_tensorrt(metric, tables)
    for found in (token_match(metric, tables), run_body(metric, tables), for_tensorrt):
        assert all(part.dtype == torch.int32 for part in found)
        assert [part.tolist() for part in found] == list(expected)
    for image, row in enumerate(into.tolist()):
        part_of = {token: token for token in tables.destination_tokens}
        part_of |= dict(zip(expected[0][image], expected[1][image], strict=True))
        assert row == [part_of.get(token, -1) for token in range(metric.shape[1])]


@settings(deadline=None, max_examples=60)
@given(layouts(), st.integers(0, 2**16))
def test_every_token_has_one_part(layout: MatchLayout, seed: int) -> None:
    tables = tables_from_layout(layout)
    metric = torch.randn(2, layout.tokens, 8, generator=torch.Generator().manual_seed(seed))
    for source, target, kept in zip(*token_match(metric, tables), strict=True):
        everyone = [*range(tables.prefix), *kept.tolist(), *tables.destination_tokens, *source.tolist()]
        assert sorted(everyone) == list(range(layout.tokens))
        window = {t: w for w, (a, b, _) in enumerate(window_lists(tables)) for t in (*a, *b)}
        assert [window[token] for token in source.tolist()] == [window[token] for token in target.tolist()]
        assert set(target.tolist()) <= set(tables.destination_tokens)


@pytest.mark.parametrize(
    "layout",
    [
        MatchLayout("alternate", 197, 1, 13),
        MatchLayout("alternate", 198, 2, 98),
        MatchLayout("alternate", 196, 0, 16),
        MatchLayout("windows", 197, 1, 16, columns=14, window=7),
        MatchLayout("cells", 1024, 0, 512, columns=32),
    ],
    ids=str,
)
def test_body_agrees_with_the_reference_at_real_sizes_but_for_near_ties(layout: MatchLayout) -> None:
    tables = tables_from_layout(layout)
    metric = torch.randn(2, layout.tokens, 64, generator=torch.Generator().manual_seed(layout.tokens))
    found, expected = run_body(metric, tables), token_match(metric, tables)
    best, gap = best_and_gap(metric, tables)
    for image in range(2):
        ours, theirs = (dict(zip(d[0][image].tolist(), d[1][image].tolist(), strict=True)) for d in (found, expected))
        for token in ours.keys() | theirs.keys():
            if ours.get(token) != theirs.get(token):
                margin = gap[image, token] if token in ours and token in theirs else best[image, token].abs()
                assert margin < 1e-5, f"token {token}: {ours.get(token)} and {theirs.get(token)}"


def test_equal_rows_merge_the_lowest_sources_into_the_lowest_destination() -> None:
    metric = torch.ones(1, 10, 4)
    for layout, expected in (
        (MatchLayout("alternate", 10, 1, 2), ([2, 4], [1, 1], [6, 8])),
        (MatchLayout("alternate", 10, 0, 2), ([0, 2], [1, 1], [4, 6, 8])),
        # windows {1, 2, 5, 6}, {3, 4, 7, 8} and one of {9}
        (MatchLayout("windows", 10, 1, 3, columns=4, window=2), ([1, 5, 3], [2, 2, 4], [7, 9])),
    ):
        tables = tables_from_layout(layout)
        for found in (token_match(metric, tables), run_body(metric, tables)):
            assert tuple(part[0].tolist() for part in found) == expected


@pytest.mark.parametrize("tiny", [0.0, 1e-30])
def test_rows_without_a_norm_are_similar_to_nothing(tiny: float) -> None:
    """The published code gives NaN; here such a source ranks behind every positive similarity and before negative ones."""
    metric = torch.tensor([[[tiny, 0.0], [1.0, 0.0], [-1.0, 0.1], [1.0, 0.0], [5.0, 0.0], [tiny, 0.0]]])
    tables = tables_from_layout(MatchLayout("alternate", 6, 0, 2))
    for found in (token_match(metric, tables), run_body(metric, tables)):
        source, target, kept = (part[0].tolist() for part in found)
        # token 2 points away from 1 and 3, so that the row without a norm (5, similarity 0) is its best
        assert (source[0], target[0]) == (4, 1)
        assert (source[1], kept) in ((0, [2]), (2, [0]))
    best, gap = best_and_gap(metric, tables)
    assert not best[0, [0, 2, 4]].isnan().any() and best[0, [1, 3, 5]].isnan().all()
    assert gap[0, 0] < 1e-12


def test_length_does_not_matter_but_direction_does() -> None:
    metric = torch.tensor([[[0.1, 0.0], [100.0, 100.0], [3.0, 3.1], [0.01, 0.0]]])
    tables = tables_from_layout(MatchLayout("alternate", 4, 0, 1))
    for found in (token_match(metric, tables), run_body(metric, tables)):
        assert [part[0].tolist() for part in found] == [[0], [3], [2]]


def test_kept_stays_in_order_of_score_without_a_class_token() -> None:
    angles = torch.tensor([0.5, 0.0, 0.1, 0.0, 0.4, 0.0, 0.2, 0.0])
    metric = torch.stack([angles.cos(), angles.sin()], dim=1)[None]
    tables = tables_from_layout(MatchLayout("alternate", 8, 0, 1))
    for found in (token_match(metric, tables), run_body(metric, tables)):
        assert [part[0].tolist() for part in found] == [[2], [1], [6, 4, 0]]
    tables = tables_from_layout(MatchLayout("alternate", 8, 1, 1))
    for found in (token_match(metric, tables), run_body(metric, tables)):
        assert [part[0].tolist() for part in found] == [[2], [1], [4, 6]]


@pytest.mark.parametrize("layout", SIX_LAYOUTS)
def test_images_of_a_batch_choose_for_themselves(layout: MatchLayout) -> None:
    tables = tables_from_layout(layout)
    metric = torch.randn(3, layout.tokens, 8, generator=torch.Generator().manual_seed(1))
    together = run_body(metric, tables)
    alone = [run_body(metric[image : image + 1], tables) for image in range(3)]
    for part in range(3):
        assert torch.equal(together[part], torch.cat([found[part] for found in alone]))
        assert torch.equal(together[part], token_match(metric, tables)[part])
    assert not torch.equal(together[1][0], together[1][1])


@settings(deadline=None, max_examples=60)
@given(cases())
def test_best_and_gap_by_brute_force(case: tuple[Tensor, MatchTables]) -> None:
    metric, tables = case
    best, gap = best_and_gap(metric, tables)
    for image, rows in enumerate(metric.tolist()):
        seen = set()
        for sources, destinations, r in window_lists(tables):
            scores = {s: sorted((cosine(rows[s], rows[d]) for d in destinations), reverse=True) for s in sources}
            cut = sorted((score[0] for score in scores.values()), reverse=True)[r - 1] if r else None
            for source, score in scores.items():
                seen.add(source)
                expected = -1.0 if cut is None else score[0] - cut
                assert best[image, source].item() == expected
                assert gap[image, source].item() == (score[0] - score[1] if len(score) > 1 else math.inf)
        others = [token for token in range(tables.tokens) if token not in seen]
        assert best[image, others].isnan().all() and gap[image, others].isnan().all()


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("layout", SIX_LAYOUTS)
def test_inlined_body_is_static(layout: MatchLayout, batch: int) -> None:
    tables = tables_from_layout(layout)
    metric = torch.randn(batch, layout.tokens, 8, generator=torch.Generator().manual_seed(2))
    plain = assert_static_standard_graph(model_for(metric, tables))
    assert not {"ScatterElements", "Range", "Shape", "Where", "Less"} & {node.op_type for node in plain.graph.node}
    for found, expected in zip(run_model(plain, {"metric": metric}), run_body(metric, tables), strict=True):
        assert torch.equal(found[:, : expected.shape[1]], expected)


@pytest.mark.parametrize("layout", SIX_LAYOUTS[1:4])
def test_export_emits_one_node_with_the_tables(layout: MatchLayout) -> None:
    tables = tables_from_layout(layout)

    class Match(torch.nn.Module):
        def forward(self, metric: Tensor) -> tuple[Tensor, Tensor]:
            source, target, _kept = token_match(metric, tables)
            return source, target

    node = exported_node(Match(), torch.randn(2, layout.tokens, 8))
    assert (node.domain, node.op_type) == (DOMAIN, NAME)
    assert attributes_of(node) == match_attributes(tables)
    assert set(ATTRIBUTES) == set(onnx_function().attribute) == set(attributes_of(node))

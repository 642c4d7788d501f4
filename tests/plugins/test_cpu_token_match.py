"""TokenMatch on the CPU: from the definition, and by the kernels' own blocks, against torch and the op's ONNX function."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from match_cases import SIX_LAYOUTS, exact_metrics, layouts, match_attributes
from onnx import TensorProto
from op_models import one_node_model, run_model
from torch import Tensor

from edgeexport.ops.match_tables import MatchLayout, MatchTables, tables_from_layout
from edgeexport.ops.token_match import EPSILON, best_and_gap, onnx_function, token_match_reference

Outcome = list[Tensor]

STATUS = {"null pointer": 1, "size": 2, "type": 3, "index": 4, "attribute": 5}  # common/status.h
LISTS = ("sources", "destinations", "taken", "left")
FORMS = ("definition", "forward", "backward")  # the last two: the kernels' blocks, their threads in either order
_UNWRITTEN = -7
_TENSORS = ("metric", "source", "target", "kept")


class Match(ctypes.Structure):
    """EdgeexportTokenMatch of token_match_cpu.h."""

    _fields_ = (
        ("metric", ctypes.c_void_p),
        *((name, ctypes.c_int32) for name in ("type", "batch", "tokens", "channels")),
        *(
            field
            for name in LISTS
            for field in ((name, ctypes.POINTER(ctypes.c_int32)), (f"{name}_length", ctypes.c_int32))
        ),
        ("windows", ctypes.c_int32),
        ("ascending", ctypes.c_int32),
        *((name, ctypes.c_void_p) for name in ("source", "target", "kept")),
    )


def call(library: ctypes.CDLL, form: str, match: Match) -> int:
    if form == "definition":
        return int(library.edgeexport_cpu_token_match(ctypes.byref(match)))
    return int(library.edgeexport_cpu_token_match_kernel(ctypes.byref(match), int(form == "backward")))


def match_of(
    metric: np.ndarray, attributes: dict[str, int | list[int]], outputs: dict[str, np.ndarray]
) -> tuple[Match, list[object]]:
    """The call's argument, and what must stay alive while it is used."""
    batch, tokens, channels = metric.shape
    kind = {np.dtype(np.float32): 0, np.dtype(np.float16): 1}[metric.dtype]
    match = Match(type=kind, batch=batch, tokens=tokens, channels=channels)
    match.windows, match.ascending = attributes["windows"], attributes["ascending"]
    alive: list[object] = [metric, outputs]
    for name in LISTS:
        values = attributes[name]
        assert isinstance(values, list)
        array = (ctypes.c_int32 * len(values))(*values)
        alive.append(array)
        setattr(match, name, ctypes.cast(array, ctypes.POINTER(ctypes.c_int32)))
        setattr(match, f"{name}_length", len(values))
    match.metric = metric.ctypes.data
    for name, output in outputs.items():
        setattr(match, name, output.ctypes.data)
    return match, alive


def run(library: ctypes.CDLL, form: str, metric: Tensor, tables: MatchTables) -> Outcome:
    """As the engine would: with the attributes of the exported node, K = 0 among them."""
    attributes = match_attributes(tables)
    widths = {"source": tables.R, "target": tables.R, "kept": max(tables.K, 1)}
    outputs = {name: np.full((len(metric), width), _UNWRITTEN, np.int32) for name, width in widths.items()}
    match, _alive = match_of(metric.contiguous().numpy(), attributes, outputs)
    assert call(library, form, match) == 0
    if not tables.K:  # nobody reads it, but it is one token of the first window
        assert all(token in tables.sources for token in outputs["kept"].flatten().tolist())
    outputs["kept"] = outputs["kept"][:, : tables.K]
    return [torch.from_numpy(array) for array in outputs.values()]


def assert_same(found: Outcome, expected: Outcome | tuple[Tensor, ...]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.tolist() == theirs.tolist()


def assert_same_but_for_near_ties(
    found: Outcome, expected: Outcome | tuple[Tensor, ...], metric: Tensor, tables: MatchTables
) -> None:
    best, gap = best_and_gap(metric, tables)
    for image in range(len(metric)):
        ours, theirs = (dict(zip(d[0][image].tolist(), d[1][image].tolist(), strict=True)) for d in (found, expected))
        for token in ours.keys() | theirs.keys():
            if ours.get(token) != theirs.get(token):
                margin = gap[image, token] if token in ours and token in theirs else best[image, token].abs()
                assert margin < 1e-5, f"token {token}: {ours.get(token)} and {theirs.get(token)}"
        everyone = sorted([*found[2][image].tolist(), *ours])
        assert everyone == sorted(token for token in tables.sources if token >= 0)


def run_function(metric: Tensor, tables: MatchTables) -> Outcome:
    counts = {"source": tables.R, "target": tables.R, "kept": max(tables.K, 1)}
    outputs = {name: (TensorProto.INT32, (len(metric), count)) for name, count in counts.items()}
    model = one_node_model(onnx_function(), {"metric": metric}, outputs, match_attributes(tables))
    source, target, kept = run_model(model, {"metric": metric})
    return [source, target, kept[:, : tables.K]]


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, MatchTables]:
    layout = draw(layouts())
    return draw(exact_metrics(draw(st.integers(1, 3)), layout.tokens)), tables_from_layout(layout)


@settings(deadline=None, max_examples=100)
@given(cases())
def test_exact_metrics_give_the_references_indices(cpu_library: ctypes.CDLL, case: tuple[Tensor, MatchTables]) -> None:
    metric, tables = case
    expected = token_match_reference(metric, tables)
    assert_same(run_function(metric, tables), expected)
    for form in FORMS:
        assert_same(run(cpu_library, form, metric, tables), expected)
        assert_same(run(cpu_library, form, metric.half(), tables), expected)


@settings(deadline=None, max_examples=40)
@given(layouts(), st.integers(1, 70), st.integers(0, 2**16))
def test_random_metrics_agree_but_for_near_ties(
    cpu_library: ctypes.CDLL, layout: MatchLayout, channels: int, seed: int
) -> None:
    tables = tables_from_layout(layout)
    metric = torch.randn(2, layout.tokens, channels, generator=torch.Generator().manual_seed(seed))
    for values in (metric, metric.half()):
        expected = token_match_reference(values.float(), tables)
        for form in FORMS:
            assert_same_but_for_near_ties(run(cpu_library, form, values, tables), expected, values.float(), tables)


@settings(deadline=None, max_examples=40)
@given(layouts(), st.integers(0, 2**16))
def test_order_of_threads_does_not_matter(cpu_library: ctypes.CDLL, layout: MatchLayout, seed: int) -> None:
    """Bit by bit, near ties included."""
    tables = tables_from_layout(layout)
    metric = torch.randn(2, layout.tokens, 3, generator=torch.Generator().manual_seed(seed))
    assert_same(run(cpu_library, "forward", metric, tables), run(cpu_library, "backward", metric, tables))


REAL_SIZES = (
    MatchLayout("alternate", 197, 1, 13),
    MatchLayout("alternate", 198, 2, 98),
    MatchLayout("alternate", 577, 0, 16),  # several splits and tiles, odd N
    MatchLayout("windows", 197, 1, 16, columns=14, window=7),
    MatchLayout("cells", 1024, 0, 512, columns=32),
)


@pytest.mark.parametrize("layout", REAL_SIZES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_real_sizes_agree_but_for_near_ties(cpu_library: ctypes.CDLL, layout: MatchLayout, form: str) -> None:
    tables = tables_from_layout(layout)
    metric = torch.randn(2, layout.tokens, 64, generator=torch.Generator().manual_seed(layout.tokens))
    found = run(cpu_library, form, metric, tables)
    assert_same_but_for_near_ties(found, token_match_reference(metric, tables), metric, tables)
    assert_same_but_for_near_ties(found, run_function(metric, tables), metric, tables)


@pytest.mark.parametrize("layout", REAL_SIZES, ids=str)
@pytest.mark.parametrize("levels", [1, 2, 6])
def test_ties_across_tiles_and_splits(cpu_library: ctypes.CDLL, layout: MatchLayout, levels: int) -> None:
    """Unit vectors along few axes: whole tiles of equal similarities, the lowest positions must win across blocks."""
    tables = tables_from_layout(layout)
    axes = torch.randint(levels, (2, layout.tokens), generator=torch.Generator().manual_seed(levels))
    metric = torch.nn.functional.one_hot(axes, 40).float() * 0.5
    expected = token_match_reference(metric, tables)
    for form in FORMS:
        assert_same(run(cpu_library, form, metric, tables), expected)


@pytest.mark.parametrize("form", FORMS)
def test_equal_rows_merge_the_lowest_sources_into_the_lowest_destination(cpu_library: ctypes.CDLL, form: str) -> None:
    for layout, expected in (
        (MatchLayout("alternate", 10, 1, 2), ([2, 4], [1, 1], [6, 8])),
        (MatchLayout("alternate", 10, 0, 2), ([0, 2], [1, 1], [4, 6, 8])),
        # windows {1, 2, 5, 6}, {3, 4, 7, 8} and one of {9}
        (MatchLayout("windows", 10, 1, 3, columns=4, window=2), ([1, 5, 3], [2, 2, 4], [7, 9])),
    ):
        found = run(cpu_library, form, torch.ones(1, 10, 4), tables_from_layout(layout))
        assert tuple(part[0].tolist() for part in found) == expected


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tiny", [0.0, 1e-30])
def test_rows_without_a_norm_are_similar_to_nothing(cpu_library: ctypes.CDLL, tiny: float, form: str) -> None:
    metric = torch.tensor([[[tiny, 0.0], [1.0, 0.0], [-1.0, 0.1], [1.0, 0.0], [5.0, 0.0], [tiny, 0.0]]])
    found = run(cpu_library, form, metric, tables_from_layout(MatchLayout("alternate", 6, 0, 2)))
    source, target, kept = (part[0].tolist() for part in found)
    assert (source[0], target[0]) == (4, 1)
    # token 2 points away from 1 and 3, so that the row without a norm (5, similarity 0) is its best
    assert (source[1], kept) in ((0, [2]), (2, [0]))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("times_epsilon", "first"), [(0.1, 2), (10.0, 0)])
def test_norms_are_bounded_below(cpu_library: ctypes.CDLL, times_epsilon: float, first: int, form: str) -> None:
    """Source 0 points exactly at a destination: similarity 1, or 0.1 where its norm is a tenth of the bound."""
    metric = torch.tensor([[[times_epsilon * EPSILON, 0], [1, 0], [1, 1], [1, 0]]])
    tables = tables_from_layout(MatchLayout("alternate", 4, 0, 1))
    assert run(cpu_library, form, metric, tables)[0].tolist() == [[first]]
    assert token_match_reference(metric, tables)[0].tolist() == [[first]]


@pytest.mark.parametrize("form", FORMS)
def test_half_metrics_are_summed_in_float32(cpu_library: ctypes.CDLL, form: str) -> None:
    """Squared norms exceed float16, and in it both destinations' similarities round to 1, so that token 1 would win."""
    metric = torch.tensor([[[6e4, 0, 0], [6e4, 1e3, 0], [0, 1, 0], [6e4, 1e2, 0]]], dtype=torch.float16)
    found = run(cpu_library, form, metric, tables_from_layout(MatchLayout("alternate", 4, 0, 1)))
    assert [part[0].tolist() for part in found] == [[0], [3], [2]]
    assert_same(found, token_match_reference(metric.float(), tables_from_layout(MatchLayout("alternate", 4, 0, 1))))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layout", SIX_LAYOUTS)
def test_images_of_a_batch_choose_for_themselves(cpu_library: ctypes.CDLL, layout: MatchLayout, form: str) -> None:
    tables = tables_from_layout(layout)
    metric = torch.randn(3, layout.tokens, 8, generator=torch.Generator().manual_seed(1))
    together = run(cpu_library, form, metric, tables)
    alone = [run(cpu_library, form, metric[image : image + 1], tables) for image in range(3)]
    for part in range(3):
        assert torch.equal(together[part], torch.cat([found[part] for found in alone]))
    assert not torch.equal(together[1][0], together[1][1])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layout", SIX_LAYOUTS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_whatever_the_metric_holds_indices_stay_in_range(
    cpu_library: ctypes.CDLL, layout: MatchLayout, value: float, form: str
) -> None:
    """TensorRT times plugins on memory with arbitrary content; what follows gathers by these indices."""
    tables = tables_from_layout(layout)
    metric = torch.randn(2, layout.tokens, 8, generator=torch.Generator().manual_seed(3))
    metric[0], metric[1, ::3] = value, value
    source, target, kept = run(cpu_library, form, metric, tables)
    real = sorted(token for token in tables.sources if token >= 0)
    for image in range(2):
        assert sorted([*source[image].tolist(), *kept[image].tolist()]) == real
    assert set(target.flatten().tolist()) <= set(tables.destination_tokens)


GOOD = tables_from_layout(MatchLayout("windows", 25, 0, 10, columns=5, window=3))


@pytest.mark.parametrize(
    "change",
    [
        {"windows": 0},
        {"windows": -1},
        {"windows": 3},
        {"ascending": 2},
        {"sources": []},
        {"destinations": []},
        {"taken": []},
        {"left": []},
        {"sources": [-2, *GOOD.sources[1:]]},
        {"sources": [2**24, *GOOD.sources[1:]]},
        {"sources": [-1, *GOOD.sources[1:]]},  # padding before tokens
        {"destinations": [-1, *GOOD.destinations[1:]]},
        {"destinations": [-1] * len(GOOD.destinations)},  # nothing to merge into
        {"taken": [len(GOOD.sources), *GOOD.taken[1:]]},
        {"taken": [-1, *GOOD.taken[1:]]},
        {"taken": [*GOOD.taken, GOOD.taken[0]]},
        {"left": [*GOOD.left, GOOD.left[0]]},
        {"left": [*GOOD.left, GOOD.sources.index(-1)]},
        {"left": [*GOOD.left, len(GOOD.sources)]},
    ],
    ids=lambda change: f"{next(iter(change))}-{str(next(iter(change.values())))[:12]}",
)
def test_contradictory_tables_are_refused(cpu_library: ctypes.CDLL, change: dict[str, int | list[int]]) -> None:
    assert refusal(cpu_library, match_attributes(GOOD)) == 0
    assert refusal(cpu_library, {**match_attributes(GOOD), **change}) == STATUS["attribute"]


def refusal(library: ctypes.CDLL, attributes: dict[str, int | list[int]], **numbers: int | None) -> int:
    """The status of a call with these attributes, the same for all forms; checks that nothing is written if it fails."""
    found = set()
    for form in FORMS:
        outputs = {name: np.full((1, 64), _UNWRITTEN, np.int32) for name in ("source", "target", "kept")}
        match, _alive = match_of(np.ones((1, 25, 4), np.float32), attributes, outputs)
        for name, number in numbers.items():
            setattr(match, name, number)
        status = call(library, form, match)
        assert status == 0 or all((array == _UNWRITTEN).all() for array in outputs.values())
        found.add(status)
    (status,) = found
    return status


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        ({"tokens": 24}, "index"),
        ({"tokens": 0}, "size"),
        ({"channels": 0}, "size"),
        ({"batch": -1}, "size"),
        ({"batch": 65536}, "size"),
        ({"type": 3}, "type"),
        ({"type": 7}, "type"),
        *(({name: None}, "null pointer") for name in (*_TENSORS, *LISTS)),
    ],
)
def test_bad_arguments_are_refused(cpu_library: ctypes.CDLL, numbers: dict[str, int | None], reason: str) -> None:
    assert refusal(cpu_library, match_attributes(GOOD), **numbers) == STATUS[reason]


def test_padding_takes_no_part(cpu_library: ctypes.CDLL) -> None:
    """Windows of 9, 6, 6 and 4 tokens share one table; what stays comes in either order."""
    metric = torch.randn(1, 25, 6, generator=torch.Generator().manual_seed(5))
    expected = token_match_reference(metric, GOOD)
    by_score = replace(GOOD, ascending=False)
    assert -1 in GOOD.sources and -1 in GOOD.destinations
    for form in FORMS:
        assert_same(run(cpu_library, form, metric, GOOD), expected)
        assert_same(run(cpu_library, form, metric, by_score), token_match_reference(metric, by_score))
